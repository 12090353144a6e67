"""Files of a data source, on disk or in a bucket, under one small interface.

Only the standard library is imported; Beam's file systems come in when a path has a
scheme such as `gs://` or `s3://`.
"""

import contextlib
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from components.beam_io import beam_io, file_at, files_below, first_answer

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_FILE_URI = re.compile(r"^file:(?://(?:localhost)?)?(?=/(?!/))", re.IGNORECASE)

# What operating systems, storage systems and photo programs leave beside photographs: previews,
# bins, snapshots and metadata. What begins with a dot is passed over anyway.
_LEFTOVER_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@tmp", "@sharebin", "#snapshot"),  # Synology
        *("@recycle", "@recently-snapshot"),  # QNAP
        *("$recycle.bin", "system volume information"),  # Windows
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("lost+found", "lost.dir", "~snapshot"),  # Linux, Android, NetApp
    }
)
_LEFTOVER_FILES = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r"}
)
_SIDECARS = (".xmp", ".aae", ".thm", ".ithmb")
_SHOWN = 10

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


def scheme(path: str) -> str:
    """The scheme of a path, such as `gs`, in lower case; empty where it has none."""
    match = _SCHEME.match(path)
    return match[1].lower() if match else ""


def has_file_system(path: str) -> bool:
    """Whether Beam can read paths of this one's scheme."""
    try:
        beam_io().filesystems.FileSystems.get_filesystem(path)
    except ValueError:
        return False
    return True


def without_file_scheme(uri: str) -> str:
    """The local path that a `file:` URI stands for (RFC 8089); any other as it is.

    One of another host, such as `file://server/a.jpg`, stays as it is.
    """
    match = _FILE_URI.match(uri)
    return urllib.parse.unquote(uri[match.end() :]) if match else uri


def leftover(name: str, *, is_folder: bool) -> str:
    """What is passed over as no data: hidden, or left by an operating or a storage system.

    Returns:
      What an account calls it, such as `@eaDir/`, `*.xmp` or `hidden files`; empty where it is
      data.
    """
    folded = name.lower()
    if is_folder:
        return f"{name}/" if name.startswith(".") or folded in _LEFTOVER_FOLDERS else ""
    if name.startswith("."):
        return "hidden files"
    if folded in _LEFTOVER_FILES:
        return name.strip()
    suffix = os.path.splitext(folded)[1]
    return f"*{suffix}" if suffix in _SIDECARS else ""


def account(passed_over: Mapping[str, int]) -> str:
    """What was passed over, in words; empty where nothing was.

    Args:
      passed_over: see `walk`.
    """
    if not passed_over:
        return ""
    items = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{what} ({count:,})" for what, count in items[:_SHOWN])
    more = f" and {len(items) - _SHOWN} more kinds" if len(items) > _SHOWN else ""
    return f"passed over: {shown}{more}"


def walk(source: str, passed_over: Counter[str] | None = None) -> Iterator[FoundFile]:
    """All files below a folder, at any depth, in no set order.

    Links to folders are followed, loops of them not. Whatever isn't a folder counts as a
    file, a dangling link too, so that it is refused with a reason and not lost.

    Args:
      source: the folder, whatever its own name is.
      passed_over: is filled with how many files and folders were left out as `leftover`; a
        folder counts once, whatever it holds.

    Raises:
      OSError: a folder can't be listed.
    """
    counted = Counter() if passed_over is None else passed_over
    if is_remote(source):
        yield from _walk_remote(source, counted)
    else:
        yield from _walk_local(source, "", frozenset(), counted)


def _walk_local(
    folder: str, below: str, above: frozenset[tuple[int, int]], passed_over: Counter[str]
) -> Iterator[FoundFile]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            relative, is_folder = f"{below}{entry.name}", _is_folder(entry)
            if left := leftover(entry.name, is_folder=is_folder):
                passed_over[left] += 1
            elif is_folder:
                inside = above | {identity}
                yield from _walk_local(entry.path, f"{relative}/", inside, passed_over)
            elif _is_special(entry):
                passed_over["pipes and devices"] += 1
            else:
                yield _look_at(relative, entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it is neither file nor folder: it has no end, or waits for someone to write."""
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:  # a link that leads to itself
        return False


def _look_at(relative: str, path: str) -> FoundFile:
    try:
        status = os.stat(path)
    except OSError:
        return FoundFile(relative, path, -1, 0)
    return FoundFile(relative, path, status.st_size, status.st_mtime_ns)


def _walk_remote(source: str, passed_over: Counter[str]) -> Iterator[FoundFile]:
    root = source.rstrip("/") + "/"
    left_out: dict[str, str] = {}
    with _as_os_error(root):
        listed = files_below(root)
    for metadata in listed:
        relative = metadata.path.removeprefix(root)
        if relative.endswith("/"):
            continue
        if left := _leftover_part(relative):
            left_out.update([left])
        else:
            yield _from_metadata(relative, metadata)
    passed_over.update(left_out.values())


def _leftover_part(relative: str) -> tuple[str, str] | None:
    """The first folder of a path, or its file, that is a leftover, and what it is called."""
    parts = relative.split("/")
    for depth, part in enumerate(parts, start=1):
        if left := leftover(part, is_folder=depth < len(parts)):
            return "/".join(parts[:depth]), left
    return None


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
    first_answer(path)
    beam = beam_io()
    # By content, never by name: Beam would unpack a file whose name ends in .gz.
    kind = beam.filesystem.CompressionTypes.UNCOMPRESSED
    try:
        with beam.filesystems.FileSystems.open(path, compression_type=kind) as file:
            return file.read()
    except (beam.filesystem.BeamIOError, ValueError) as error:  # no such scheme or bucket
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
