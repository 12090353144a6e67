"""Digests of files' contents, which detect images that were rewritten in place.

Imports the standard library only; Beam's file systems are imported for files in a bucket.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from components.beam_io import checksum
from components.image_example_gen import files
from components.image_example_gen.manifest import UnreachableError

Verify = Literal["size_and_time", "heads", "content"]
"""What is compared in addition to the files' sizes and modification times.

`size_and_time`: nothing. `heads`: the first 64 KiB of each local file, where JPEG stores EXIF
data such as the orientation; nothing for files in a bucket, since rewriting one changes its time.
`content`: all of each local file, and the checksum that the bucket's store keeps of each file.
"""

_HEAD_BYTES = 64 * 1024
_WORKERS = 8
_CHUNK_FILES = 4096
_UNREADABLE = "unreadable"


def content_digests(
    paths: Iterable[str], verify: Verify, *, advance: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """Yields a digest of each file, in the order of the paths; empty if `verify` needs none.

    Args:
      paths: local paths, or paths with a scheme such as `gs://`.
      verify: what to digest, see `Verify`.
      advance: called once per file.

    Raises:
      UnreachableError: a bucket's store provides no checksum of a file.
    """
    remaining = iter(paths)

    def digest_of(path: str) -> str:
        if verify == "size_and_time":
            return ""
        if files.is_remote(path):
            return _checksum(path) if verify == "content" else ""
        return _local_digest(path, whole=verify == "content")

    with ThreadPoolExecutor(_WORKERS) as workers:
        # In chunks: `map` submits all of its items before it returns the first result.
        while chunk := list(itertools.islice(remaining, _CHUNK_FILES)):
            for digest in workers.map(digest_of, chunk):
                advance()
                yield digest


def _local_digest(path: str, *, whole: bool) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            if whole:
                return hashlib.file_digest(file, "sha256").hexdigest()
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:  # ingestion quarantines it with the reason
        return _UNREADABLE


def _checksum(path: str) -> str:
    try:
        return checksum(path)
    except Exception as error:  # each store's client raises its own errors
        raise UnreachableError(
            f"cannot get the checksum of {path} ({error}); check that the store can be reached, "
            "or set data.verify to size_and_time"
        ) from error
