"""Files of a data source, on disk or in a bucket, under one small interface.

Only the standard library is imported; Beam's file systems come in when a path has a
scheme such as `gs://` or `s3://`.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from components.beam_io import beam_io, file_at, files_below

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)

# What Windows and macOS leave behind; what begins with a dot is passed over anyway.
_LEFTOVERS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"})

_NANOSECONDS = 1_000_000_000


class FoundFile(NamedTuple):
    """A file of a data source.

    Attributes:
      relative: path below the source, with `/` between its parts.
      path: the path that opens it.
      size: bytes; -1 where the file can't be looked at.
      mtime_ns: time of the last change, in nanoseconds since 1970; 0 where it isn't known.
    """

    relative: str
    path: str
    size: int
    mtime_ns: int


def is_remote(path: str) -> bool:
    """Whether a path lies in a bucket: it has a scheme, such as `gs://`."""
    return bool(_SCHEME.match(path))


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is no data: hidden, or left by an operating system."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def walk(source: str) -> Iterator[FoundFile]:
    """All files below a folder, at any depth, in no set order.

    Links to folders are followed, loops of them not. Whatever isn't a folder counts as a
    file, a dangling link too, so that it is refused with a reason and not lost.

    Raises:
      OSError: a folder can't be listed.
    """
    if is_remote(source):
        yield from _walk_remote(source)
    else:
        yield from _walk_local(source, "", frozenset())


def _walk_local(folder: str, below: str, above: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_passed_over(entry.name):
                continue
            relative = f"{below}{entry.name}"
            if _is_folder(entry):
                yield from _walk_local(entry.path, f"{relative}/", above | {identity})
            else:
                yield _look_at(relative, entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _look_at(relative: str, path: str) -> FoundFile:
    try:
        status = os.stat(path)
    except OSError:
        return FoundFile(relative, path, -1, 0)
    return FoundFile(relative, path, status.st_size, status.st_mtime_ns)


def _walk_remote(source: str) -> Iterator[FoundFile]:
    root = source.rstrip("/") + "/"
    with _as_os_error(root):
        listed = files_below(root)
    for metadata in listed:
        relative = metadata.path.removeprefix(root)
        if any(is_passed_over(part) for part in relative.split("/")) or relative.endswith("/"):
            continue
        yield _from_metadata(relative, metadata)


def find(relative: str, path: str) -> FoundFile | None:
    """One file by its path; None where there is no such file."""
    if is_remote(path):
        with _as_os_error(path):
            found = file_at(path)
        return None if found is None else _from_metadata(relative, found)
    return _look_at(relative, path) if os.path.isfile(path) else None


def read_bytes(path: str) -> bytes:
    """The content of a file.

    Raises:
      FileNotFoundError: there is none.
      OSError: it can't be read.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    beam = beam_io()
    # By content, never by name: Beam would unpack a file whose name ends in .gz.
    kind = beam.filesystem.CompressionTypes.UNCOMPRESSED
    try:
        with beam.filesystems.FileSystems.open(path, compression_type=kind) as file:
            return file.read()
    except beam.filesystem.BeamIOError as error:
        raise OSError(str(error)) from error


def _from_metadata(relative: str, metadata: Any) -> FoundFile:
    changed = int((metadata.last_updated_in_seconds or 0) * _NANOSECONDS)
    return FoundFile(relative, metadata.path, metadata.size_in_bytes, changed)


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    try:
        yield
    except (beam_io().filesystem.BeamIOError, ValueError) as error:
        raise OSError(f"cannot list {path}: {error}") from error
