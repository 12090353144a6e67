"""The files of an Examples artifact: uncompressed TFRecord shards, one folder per split.

Shards are not compressed: they consist mostly of JPEG, for which gzip takes as much time as
decoding and saves no space.

The last file of an artifact is a list of its files, `files.json`, which every reader checks: if a
copy or a cleanup loses a file, the remaining ones would otherwise look like a smaller data set.
"""

import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tfx.dsl.io import fileio

if TYPE_CHECKING:
    import tensorflow as tf

LIST_FILE = "files.json"

_SHARD = re.compile(r"^data_tfrecord-\d{5}-of-\d{5}$")
_CHUNK_BYTES = 1 << 20
# TensorFlow's description of its graph, around the message of a reader.
_OF_TENSORFLOW = re.compile(r"^\{\{.*?\}\} | \[Op:.*$", re.DOTALL)


class DamagedArtifactError(RuntimeError):
    """Files of an artifact are missing or changed; the message names them and says what to do."""


class Described(NamedTuple):
    """A file as it was written.

    Attributes:
      name: path relative to the artifact.
      records: number of its records or rows.
      size: in bytes.
      sha256: digest of its bytes, 64 hex digits.
    """

    name: str
    records: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A file of an artifact whose list has been checked.

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
        if self.sha256 and (found := _sha256(self.path)) != self.sha256:
            raise _damaged(self.path, f"its SHA-256 must be {self.sha256}. Received: {found}")

    def check_count(self, records: int) -> None:
        """Checks the number of records that were read.

        Raises:
          DamagedArtifactError: it is another number.
        """
        if records != self.records:
            raise _damaged(self.path, f"it must have {self.records} records. Received: {records}")


def split_dir(uri: str, split: str) -> str:
    """Returns the folder of one split of an Examples artifact."""
    return os.path.join(uri, _folder(split))


def _folder(split: str) -> str:
    return f"Split-{split}"


def shard_name(index: int, count: int) -> str:
    """Returns the file name of shard `index` of `count`."""
    return f"data_tfrecord-{index:05d}-of-{count:05d}"


def describe(uri: str, name: str, records: int) -> Described:
    """Reads a file and returns its entry in its artifact's list.

    Args:
      uri: of the artifact.
      name: path of the file relative to `uri`.
      records: number of its records.
    """
    path = os.path.join(uri, name)
    return Described(name, records, _size(path), _sha256(path))


def write_list(uri: str, entries: Iterable[Described], *, check_digests: bool) -> None:
    """Writes the list of an artifact's files, which must all be written.

    Args:
      uri: of the artifact.
      entries: every file.
      check_digests: whether readers check digests, in addition to names, sizes and counts.
    """
    content = {
        "check_digests": check_digests,
        "files": {
            each.name: {"records": each.records, "bytes": each.size, "sha256": each.sha256}
            for each in sorted(entries)
        },
    }
    with fileio.open(os.path.join(uri, LIST_FILE), "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")


def checks_digests(uri: str) -> bool:
    """Returns whether the readers of an artifact check digests."""
    return bool(_read_list(uri)["check_digests"])


def split_shards(uri: str, split: str) -> list[Shard]:
    """Returns the shards of one split, in order, after checking that they are complete.

    Raises:
      FileNotFoundError: the artifact has no such split.
      DamagedArtifactError: a shard, or the list, is missing or has changed.
    """
    shards = listed_files(uri, _folder(split))
    if not shards:
        listed = sorted({os.path.dirname(name) for name in _read_list(uri)["files"]})
        raise FileNotFoundError(f"no shard of split {split!r} exists in {uri}. Received: {listed}")
    folder = split_dir(uri, split)
    found = sorted(name for name in map(str, fileio.listdir(folder)) if _SHARD.match(name))
    expected = [shard_name(index, len(shards)) for index in range(len(shards))]
    if found != expected:
        raise _damaged(folder, f"it must have the shards {expected}. Received: {found}")
    return shards


def pattern_shards(pattern: str) -> list[Shard]:
    """Returns the shards that match a pattern of TFX, `URI/Split-NAME/*`, in order.

    Only the part after the last `/` is a pattern; the folder is literal, so that `exp[1]` is
    never read as `exp1`.

    Raises:
      FileNotFoundError: the artifact has no such split.
      DamagedArtifactError: see `split_shards`.
    """
    folder, name = os.path.split(pattern)
    uri, split = os.path.split(folder)
    shards = split_shards(uri, split.removeprefix(_folder("")))
    return [shard for shard in shards if fnmatch.fnmatch(os.path.basename(shard.path), name)]


def listed_files(uri: str, folder: str = "") -> list[Shard]:
    """Returns the files in an artifact's list, in order, after checking that they are complete.

    Args:
      uri: of the artifact.
      folder: only files in this folder, relative to `uri`; empty for the artifact's own.

    Raises:
      DamagedArtifactError: a file, or the list, is missing or has changed.
    """
    listed = _read_list(uri)
    shards, problems = [], []
    for name, entry in sorted(listed["files"].items()):
        if os.path.dirname(name) != folder:
            continue
        path = os.path.join(uri, name)
        digest = entry["sha256"] if listed["check_digests"] else ""
        shards.append(Shard(path, entry["records"], digest))
        if not fileio.exists(path):
            problems.append(f"{name} is missing, with {entry['records']} records")
        elif (size := _size(path)) != entry["bytes"]:
            problems.append(f"{name} must have {entry['bytes']} bytes. Received: {size}")
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise _damaged(uri, "; ".join(problems[:3]) + more)
    return shards


def is_complete(uri: str) -> bool:
    """Returns whether all files in an artifact's list exist; True if it has no list."""
    if not fileio.exists(os.path.join(uri, LIST_FILE)):
        return True
    try:
        for folder in {os.path.dirname(name) for name in _read_list(uri)["files"]}:
            listed_files(uri, folder)
    except DamagedArtifactError:
        return False
    return True


def record_batches(path: str, size: int) -> "Iterator[tf.Tensor]":
    """Yields the records of a shard, string (b,), in order.

    Args:
      path: of an uncompressed TFRecord file.
      size: of all batches except the last.

    Raises:
      DamagedArtifactError: a record does not match its checksum, or is incomplete.
    """
    import tensorflow as tf

    try:
        yield from tf.data.TFRecordDataset([path]).batch(size).prefetch(1)
    except tf.errors.DataLossError as error:
        raise _damaged(path, _OF_TENSORFLOW.sub("", error.message)) from error


def _read_list(uri: str) -> dict[str, Any]:
    path = os.path.join(uri, LIST_FILE)
    if not fileio.exists(path):
        raise _damaged(uri, f"its list of files, {LIST_FILE}, is missing")
    with fileio.open(path, "rb") as file:
        content = file.read()
    try:
        listed = json.loads(content)
        _ = listed["check_digests"]
        for entry in listed["files"].values():
            _ = entry["records"], entry["bytes"], entry["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"it can't be read: {error!r}") from error
    return listed


def _damaged(path: str, problem: str) -> DamagedArtifactError:
    return DamagedArtifactError(
        f"{path} is damaged: {problem}. Run again without the cache (--no-cache), which writes it "
        "again"
    )


def _size(path: str) -> int:
    found = fileio.stat(path)  # TensorFlow's, Beam's or Python's
    for name in ("length", "size_in_bytes", "st_size"):
        if hasattr(found, name):
            return int(getattr(found, name))
    raise TypeError(f"no size in {found!r}")


def _sha256(path: str) -> str:
    if "://" not in path:  # several times as fast as TensorFlow's file system
        with open(path, "rb") as local:
            return hashlib.file_digest(local, "sha256").hexdigest()
    digest = hashlib.sha256()
    with fileio.open(path, "rb") as file:
        while part := file.read(_CHUNK_BYTES):
            digest.update(part)
    return digest.hexdigest()
