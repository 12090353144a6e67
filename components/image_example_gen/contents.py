"""Digests of files' contents, which detect images that were rewritten in place.

Imports the standard library only; Beam's file systems are imported for files in a bucket.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from components.beam_io import checksum
from components.image_example_gen import files
from components.image_example_gen.manifest import UnreachableError

Verify = Literal["size_and_time", "heads", "content"]
"""What is compared in addition to the files' sizes and modification times.

`size_and_time`: nothing. `heads`: the first 64 KiB of each local file, where JPEG stores EXIF
data such as the orientation. `content`: all of each local file, and the checksum of each file in a
bucket. The checksums of S3 and Google Cloud Storage come with the listing, and are always compared.
"""

_HEAD_BYTES = 64 * 1024
# More than this wait for each other in Python on a fast disk.
_WORKERS = min(8, 2 * (os.cpu_count() or 1))
_CHUNK_FILES = 4096
_TASK_FILES = 128
_UNREADABLE = "unreadable"


def content_digests(
    found: Iterable[tuple[str, str]],
    verify: Verify,
    *,
    advance: Callable[[], object] = lambda: None,
) -> Iterator[str]:
    """Yields a digest of each file, in the given order; empty if `verify` needs none.

    Args:
      found: local path, or path with a scheme such as `gs://`, and the checksum of the listing;
        empty if the listing has none.
      verify: what to digest, see `Verify`.
      advance: called once per file.

    Raises:
      UnreachableError: a bucket's store provides no checksum of a file.
    """
    remaining = iter(found)

    def digests_of(some: Sequence[tuple[str, str]]) -> list[str]:
        return [_digest(path, checksum, verify) for path, checksum in some]

    with ThreadPoolExecutor(_WORKERS) as workers:
        # In chunks: `map` submits all of its items before it returns the first result. A task takes
        # several files, since handing one over costs as much as reading one.
        while chunk := list(itertools.islice(remaining, _CHUNK_FILES)):
            parts = [chunk[at : at + _TASK_FILES] for at in range(0, len(chunk), _TASK_FILES)]
            for digests in workers.map(digests_of, parts):
                for digest in digests:
                    advance()
                    yield digest


def _digest(path: str, checksum: str, verify: Verify) -> str:
    if verify == "size_and_time" or checksum:
        return ""
    if files.is_remote(path):
        return _checksum(path) if verify == "content" else ""
    return _local_digest(path, whole=verify == "content")


def _local_digest(path: str, *, whole: bool) -> str:
    try:
        if not whole:
            return hashlib.sha256(_head(path)).hexdigest()
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # ingestion quarantines it with the reason
        return _UNREADABLE


def _head(path: str) -> bytes:
    # Without a file object, whose creation takes longer than the rest.
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, _HEAD_BYTES)
    finally:
        os.close(file)


def _checksum(path: str) -> str:
    try:
        return checksum(path)
    except Exception as error:  # each store's client raises its own errors
        raise UnreachableError(
            f"cannot get the checksum of {path} ({error}); check that the store can be reached, "
            "or set data.verify to size_and_time"
        ) from error
