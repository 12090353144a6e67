"""Files of a data source, on disk or in a bucket, under one small interface.

Imports the standard library only; Beam's file systems are imported when a path has a scheme
such as `gs://` or `s3://`.
"""

import contextlib
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from components import object_reads
from components.beam_io import beam_io, file_at, files_below, first_answer
from components.stores import store_errors, store_of

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_FILE_URI = re.compile(r"^file:(?://(?:localhost)?)?(?=/(?!/))", re.IGNORECASE)

# Previews, recycle bins, snapshots and metadata that operating systems, storage systems and photo
# programs create among photographs. Names that start with a dot are passed over anyway.
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
      relative: path relative to the source, separated by `/`.
      path: the path that opens it.
      size: bytes; -1 if the file can't be accessed.
      mtime_ns: modification time in nanoseconds since 1970; 0 if unknown.
      checksum: the store's own, of an object in a bucket; empty for any other file.
    """

    relative: str
    path: str
    size: int
    mtime_ns: int
    checksum: str = ""


def is_remote(path: str) -> bool:
    """Returns whether a path is in a bucket: it has a scheme, such as `gs://`."""
    return bool(_SCHEME.match(path))


def scheme(path: str) -> str:
    """Returns the scheme of a path in lower case, such as `gs`; empty if it has none."""
    match = _SCHEME.match(path)
    return match[1].lower() if match else ""


def has_file_system(path: str) -> bool:
    """Returns whether Beam can read paths with the scheme of this path."""
    try:
        beam_io().filesystems.FileSystems.get_filesystem(path)
    except ValueError:
        return False
    return True


def without_file_scheme(uri: str) -> str:
    """Returns the local path of a `file:` URI (RFC 8089); any other path unchanged.

    A URI of another host, such as `file://server/a.jpg`, is unchanged too.
    """
    match = _FILE_URI.match(uri)
    return urllib.parse.unquote(uri[match.end() :]) if match else uri


def leftover(name: str, *, is_folder: bool) -> str:
    """Returns the kind of a leftover: hidden, or created by an operating or storage system.

    Returns:
      The kind, such as `@eaDir/`, `*.xmp` or `hidden files`; empty if it is data.
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


def passed_over_text(passed_over: Mapping[str, int]) -> str:
    """Returns a text that lists what was passed over; empty if nothing was.

    Args:
      passed_over: see `walk`.
    """
    if not passed_over:
        return ""
    items = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{what} ({count:,})" for what, count in items[:_SHOWN])
    more = f" and {len(items) - _SHOWN} more kinds" if len(items) > _SHOWN else ""
    return f"passed over: {shown}{more}"


def walk(
    source: str,
    passed_over: Counter[str] | None = None,
    check_link: Callable[[str], None] = lambda path: None,
) -> Iterator[FoundFile]:
    """Yields all files below a folder, at any depth, in no particular order.

    Follows links to folders, but not loops. Everything that isn't a folder counts as a file,
    including a dangling link, so that it is refused with a reason and not lost.

    Args:
      source: the folder; its own name is not checked by `leftover`.
      passed_over: filled with the number of files and folders left out, by kind (`leftover`);
        a folder counts once, regardless of its content.
      check_link: called with the path of each symbolic link before it is followed; it may raise
        an error.

    Raises:
      OSError: a folder can't be listed.
    """
    counted = Counter() if passed_over is None else passed_over
    if is_remote(source):
        yield from _walk_remote(source, counted)
    else:
        yield from _walk_local(source, "", frozenset(), counted, check_link)


def _walk_local(
    folder: str,
    below: str,
    above: frozenset[tuple[int, int]],
    passed_over: Counter[str],
    check_link: Callable[[str], None],
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
                continue
            if entry.is_symlink():
                check_link(entry.path)
            if is_folder:
                inside = above | {identity}
                yield from _walk_local(entry.path, f"{relative}/", inside, passed_over, check_link)
            elif _is_special(entry):
                passed_over["pipes and devices"] += 1
            else:
                yield _local_file(relative, entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Returns whether it is neither file nor folder, such as a pipe, whose reading may not end."""
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:  # a link to itself
        return False


def _local_file(relative: str, path: str) -> FoundFile:
    try:
        status = os.stat(path)
    except OSError:
        return FoundFile(relative, path, -1, 0)
    return FoundFile(relative, path, status.st_size, status.st_mtime_ns)


def _walk_remote(source: str, passed_over: Counter[str]) -> Iterator[FoundFile]:
    root = source.rstrip("/") + "/"
    left_out: dict[str, str] = {}
    with _as_os_error(root):
        for metadata in files_below(root):
            relative = metadata.path.removeprefix(root)
            if relative.endswith("/"):
                continue
            if left := _leftover_part(relative):
                left_out.update([left])
            else:
                yield _from_metadata(relative, metadata)
    passed_over.update(left_out.values())


def _leftover_part(relative: str) -> tuple[str, str] | None:
    """Returns the path of the first leftover among a path's folders and its file, and its kind."""
    parts = relative.split("/")
    for depth, part in enumerate(parts, start=1):
        if left := leftover(part, is_folder=depth < len(parts)):
            return "/".join(parts[:depth]), left
    return None


def exists(path: str) -> bool:
    """Returns whether a path is a file, or a folder; in a bucket, a folder with a file.

    Raises:
      OSError: the store can't be read.
    """
    if not is_remote(path):
        return os.path.exists(path)
    if find("", path) is not None:
        return True
    prefix = path.rstrip("/") + "/"
    if store := store_of(prefix):
        return bool(store.below(prefix, limit=1))
    with _as_os_error(prefix):
        return any(True for _ in files_below(prefix))


def children(folder: str, *, folders: bool) -> set[str]:
    """Returns the names of the folders, or of the files, directly in a folder.

    Args:
      folder: on disk or in a bucket.
      folders: whether to return the folders.

    Raises:
      OSError: the folder can't be listed.
    """
    if not is_remote(folder):
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if _is_folder(entry) == folders}
    prefix = folder.rstrip("/") + "/"
    if folders and (store := store_of(prefix)):  # without listing what is in them
        if error := first_answer(prefix):
            raise error
        return set(store.folders(prefix))
    with _as_os_error(prefix):
        below = [found.path.removeprefix(prefix) for found in files_below(prefix)]
    return {name.partition("/")[0] for name in below if ("/" in name) == folders}


def find(relative: str, path: str) -> FoundFile | None:
    """Returns one file by its path; None if it does not exist."""
    if is_remote(path):
        with _as_os_error(path):
            found = file_at(path)
        return None if found is None else _from_metadata(relative, found)
    return _local_file(relative, path) if os.path.isfile(path) else None


def read_bytes(path: str) -> bytes:
    """Returns the content of a file.

    Raises:
      FileNotFoundError: the file does not exist.
      StoreError: it can't be read from a store, which says nothing about its content.
      OSError: it can't be read.
    """
    if not is_remote(path):
        with open(path, "rb", buffering=0) as file:  # a buffer would only be copied from
            return file.read()
    first_answer(path)
    if store := store_of(path):
        content = object_reads.read(path)
        return store.read(path) if content is None else content
    beam = beam_io()
    # Otherwise Beam would decompress a file whose name ends in .gz.
    kind = beam.filesystem.CompressionTypes.UNCOMPRESSED
    with (
        store_errors(path),
        beam.filesystems.FileSystems.open(path, compression_type=kind) as file,
    ):
        return file.read()


def _from_metadata(relative: str, metadata: Any) -> FoundFile:
    changed = int((metadata.last_updated_in_seconds or 0) * _NANOSECONDS)
    checksum = getattr(metadata, "checksum", "")
    return FoundFile(relative, metadata.path, metadata.size_in_bytes, changed, checksum)


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    try:
        yield
    except (beam_io().filesystem.BeamIOError, ValueError) as error:
        raise OSError(f"cannot list {path}: {error}") from error
