"""The list of an artifact's files, `files.json`, which every reader checks.

If a copy or a cleanup loses a file, the remaining ones could otherwise pass for the whole artifact,
and a file that a disk has changed for the one that was written. The list is written after all other
files. That of a model is in the folder of its SavedModel, with which it is pushed.
"""

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from components import file_io

LIST_FILE = "files.json"

_SERVING = "Format-Serving"  # TFX's name of a SavedModel's folder in a Model artifact
_CHUNK_BYTES = 1 << 20
_MAX_NAMED = 3


class DamagedArtifactError(RuntimeError):
    """Files of an artifact are missing or changed; the message names them and says what to do.

    Attributes:
      problem: what must be there, and what was found.
    """

    problem = ""


def damaged(path: str, problem: str) -> DamagedArtifactError:
    """Returns the error for a damaged artifact or file.

    Args:
      path: of the artifact or file.
      problem: what must be there, and what was found.
    """
    # Not by a constructor: Beam makes an error anew from its message.
    error = DamagedArtifactError(
        f"{path} is damaged: {problem}. Run again without the cache (--no-cache), which writes it "
        "again"
    )
    error.problem = problem
    return error


class Described(NamedTuple):
    """A file as it was written.

    Attributes:
      name: path relative to the artifact.
      records: number of its records or rows; None for a file without.
      size: in bytes.
      sha256: digest of its bytes, 64 hex digits.
    """

    name: str
    records: int | None
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A file with records, of an artifact whose list has been checked.

    Attributes:
      path: local or remote.
      records: number of its records.
      sha256: digest to check; empty if the artifact's readers don't check digests.
    """

    path: str
    records: int
    sha256: str

    def check_digest(self) -> None:
        """Reads the file and checks its digest, if readers check digests.

        Raises:
          DamagedArtifactError: the file has changed.
        """
        if self.sha256:
            self.check_hexdigest(_sha256(self.path))

    def check_hexdigest(self, found: str) -> None:
        """Checks the digest of what was read, if readers check digests.

        Args:
          found: SHA-256 of the whole file, in hex.

        Raises:
          DamagedArtifactError: it is another digest.
        """
        if self.sha256 and found != self.sha256:
            raise damaged(self.path, _other_digest(self.sha256, found))

    def check_count(self, records: int) -> None:
        """Checks the number of records that were read.

        Raises:
          DamagedArtifactError: it is another number.
        """
        if records != self.records:
            raise damaged(self.path, f"it must have {self.records} records. Received: {records}")


def describe(uri: str, name: str, records: int | None = None) -> Described:
    """Reads a file and returns its entry in its artifact's list.

    Args:
      uri: of the artifact.
      name: path of the file relative to `uri`.
      records: number of its records; None for a file without.
    """
    path = os.path.join(uri, name)
    return Described(name, records, _size(path), _sha256(path))


def describe_content(name: str, content: bytes) -> Described:
    """Returns the entry of a file without records that is not written yet."""
    return Described(name, None, len(content), hashlib.sha256(content).hexdigest())


def write_list(uri: str, entries: Iterable[Described], *, check_digests: bool) -> None:
    """Writes the list of an artifact's files, which must all be written.

    Args:
      uri: of the artifact.
      entries: every file.
      check_digests: whether readers check digests, in addition to names, sizes and counts.
    """
    with file_io.open_file(os.path.join(uri, LIST_FILE), "w") as file:
        file.write(list_text(entries, check_digests=check_digests))


def list_text(entries: Iterable[Described], *, check_digests: bool) -> str:
    """Returns the content of a list; see `write_list`."""
    content = {
        "check_digests": check_digests,
        "files": {
            each.name: {"records": each.records, "bytes": each.size, "sha256": each.sha256}
            for each in sorted(entries, key=lambda each: each.name)
        },
    }
    return json.dumps(content, indent=1) + "\n"


def list_all(uri: str) -> None:
    """Writes the list of all files that an artifact has now, whose digests readers check.

    Args:
      uri: of the artifact, which is created if it does not exist.
    """
    folder = listed_folder(uri)
    file_io.make_folder(folder)
    found = [name for name in names(folder) if name != LIST_FILE]
    write_list(folder, [describe(folder, name) for name in found], check_digests=True)


def listed_folder(uri: str) -> str:
    """Returns the folder of an artifact's list: that of the SavedModel, if it has one."""
    serving = os.path.join(uri, _SERVING)
    return serving if file_io.exists(serving) else uri


def has_list(folder: str) -> bool:
    """Returns whether a folder has a list."""
    return file_io.exists(os.path.join(folder, LIST_FILE))


def described(folder: str) -> list[Described]:
    """Returns the entries in a folder's list, in order, without checking the files.

    Raises:
      DamagedArtifactError: the list is missing or can't be read.
    """
    return entries_of(_read_bytes(folder), folder)


def entries_of(content: bytes, folder: str) -> list[Described]:
    """Returns the entries in the content of a folder's list; see `described`."""
    found = _parsed(content, folder)["files"]
    return [
        Described(name, entry["records"], entry["bytes"], entry["sha256"])
        for name, entry in sorted(found.items())
    ]


def digest(folder: str) -> str:
    """Returns the SHA-256, in hex, of the relative paths and contents of a folder's files."""
    whole = hashlib.sha256()
    for name in sorted(names(folder), key=lambda name: name.split("/")):
        whole.update(f"{name}\0{_sha256(os.path.join(folder, name))}\n".encode())
    return whole.hexdigest()


def checks_digests(uri: str) -> bool:
    """Returns whether the readers of an artifact check digests."""
    return bool(_read_list(uri)["check_digests"])


def listed_files(uri: str, folder: str = "") -> list[Shard]:
    """Returns the files in an artifact's list, in order, after checking that they are complete.

    Args:
      uri: of the artifact.
      folder: only files in this folder, relative to `uri`; empty for the artifact's own.

    Raises:
      DamagedArtifactError: a file, or the list, is missing or has changed.
    """
    listed = _read_list(uri)
    entries = {
        name: entry
        for name, entry in sorted(listed["files"].items())
        if os.path.dirname(name) == folder
    }
    _check(uri, entries, digests=False)
    return [
        Shard(
            os.path.join(uri, name),
            entry["records"] or 0,
            entry["sha256"] if listed["check_digests"] else "",
        )
        for name, entry in entries.items()
    ]


def folders(uri: str) -> list[str]:
    """Returns the folders of the files in an artifact's list, relative to it, in order."""
    return sorted({os.path.dirname(name) for name in _read_list(uri)["files"]} - {""})


def check(folder: str, *, digests: bool | None = None) -> None:
    """Checks that all files in a folder's list are there and as they were written.

    Files that were added are ignored.

    Args:
      folder: see `listed_folder`.
      digests: whether to check digests, in addition to sizes; None as the list says.

    Raises:
      DamagedArtifactError: a file, or the list, is missing or has changed.
    """
    listed = _read_list(folder)
    digests = bool(listed["check_digests"]) if digests is None else digests
    _check(folder, listed["files"], digests=digests)


def check_file(path: str, entry: Described, *, digests: bool) -> None:
    """Checks that a file, wherever it is, is as an entry of a list says.

    Args:
      path: of the file.
      entry: its entry.
      digests: whether to check the digest, in addition to the size.

    Raises:
      DamagedArtifactError: the file is missing or has changed.
    """
    facts = {"records": entry.records, "bytes": entry.size, "sha256": entry.sha256}
    if problem := _problem(path, facts, digests=digests):
        raise damaged(path, f"{entry.name} {problem}")


def is_intact(folder: str, *, digests: bool | None = None) -> bool:
    """Returns whether `check` finds nothing."""
    try:
        check(folder, digests=digests)
    except DamagedArtifactError:
        return False
    return True


def _check(uri: str, entries: Mapping[str, Mapping[str, Any]], *, digests: bool) -> None:
    problems = [
        f"{name} {problem}"
        for name, entry in sorted(entries.items())
        if (problem := _problem(os.path.join(uri, name), entry, digests=digests))
    ]
    if problems:
        more = f"; and {len(problems) - _MAX_NAMED} more" if len(problems) > _MAX_NAMED else ""
        raise damaged(uri, "; ".join(problems[:_MAX_NAMED]) + more)


def _problem(path: str, entry: Mapping[str, Any], *, digests: bool) -> str:
    if not file_io.exists(path):
        with_records = "" if entry["records"] is None else f", with {entry['records']} records"
        return f"is missing{with_records}"
    if (size := _size(path)) != entry["bytes"]:
        return f"must have {entry['bytes']} bytes. Received: {size}"
    if not digests or (found := _sha256(path)) == entry["sha256"]:
        return ""
    return _other_digest(entry["sha256"], found)


def _other_digest(expected: str, found: str) -> str:
    return f"must have the SHA-256 {expected}. Received: {found}"


def _read_list(uri: str) -> dict[str, Any]:
    return _parsed(_read_bytes(uri), uri)


def _read_bytes(uri: str) -> bytes:
    path = os.path.join(uri, LIST_FILE)
    if not file_io.exists(path):
        raise damaged(uri, f"its list of files, {LIST_FILE}, is missing")
    with file_io.open_file(path, "rb") as file:
        return file.read()


def _parsed(content: bytes, folder: str) -> dict[str, Any]:
    try:
        listed = json.loads(content)
        _ = listed["check_digests"]
        for entry in listed["files"].values():
            _ = entry["records"], entry["bytes"], entry["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, f"{LIST_FILE} can't be read: {error!r}") from error
    return listed


def _size(path: str) -> int:
    if file_io.is_local(path):
        return os.path.getsize(path)
    found = file_io.fileio().stat(path)  # TensorFlow's, Beam's or the object store's
    for name in ("length", "size_in_bytes"):
        if hasattr(found, name):
            return int(getattr(found, name))
    raise TypeError(f"no size in {found!r}")


def _sha256(path: str) -> str:
    if file_io.is_local(path):  # several times as fast as TensorFlow's file system
        with open(path, "rb") as local:
            return hashlib.file_digest(local, "sha256").hexdigest()
    with file_io.open_file(path, "rb") as file:
        found = hashlib.sha256()
        while part := file.read(_CHUNK_BYTES):
            found.update(part)
    return found.hexdigest()


def names(folder: str) -> Iterator[str]:
    """Yields the path of each file in a folder, at any depth, relative to it."""
    walk = os.walk if file_io.is_local(folder) else file_io.fileio().walk
    for parent, _, files in walk(folder):
        below = posixpath.relpath(str(parent).rstrip("/"), folder.rstrip("/"))
        for name in files:
            yield posixpath.normpath(posixpath.join(below, str(name)))
