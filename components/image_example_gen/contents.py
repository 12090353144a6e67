"""Digests of files' contents: they tell an image that was rewritten in place from what it was.

Only the standard library is imported; Beam's file systems come in for files in a bucket.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from components.beam_io import checksums
from components.image_example_gen import files
from components.image_example_gen.manifest import UnreachableError

Verify = Literal["size_and_time", "heads", "content"]
"""How closely files are looked at beside their sizes and times of change.

`heads`: the first 64 KiB of each local file, where JPEG keeps its EXIF data, such as the
orientation. In buckets nothing more: there a file that is rewritten gets a new time. `content`:
all of each local file, and the checksum that a bucket's store keeps of each.
"""

_HEAD_BYTES = 64 * 1024
_WORKERS = 8
_AT_ONCE = 4096
_UNREADABLE = "unreadable"


def content_digests(
    paths: Iterable[str], verify: Verify, *, advance: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """A digest of each file, in the order of the paths; empty where none is asked for.

    Args:
      paths: local ones, or with a scheme such as `gs://`.
      verify: how closely to look.
      advance: is called once a file.

    Raises:
      UnreachableError: a bucket's store gives no checksum of a file.
    """
    remaining = iter(paths)
    stores = functools.cache(checksums)

    def digest_of(path: str) -> str:
        if verify == "size_and_time":
            return ""
        if files.is_remote(path):
            return _checksum(path, stores) if verify == "content" else ""
        return _local_digest(path, whole=verify == "content")

    with ThreadPoolExecutor(_WORKERS) as workers:
        # Some at a time: a pool takes in all its work before it gives anything back.
        while some := list(itertools.islice(remaining, _AT_ONCE)):
            for digest in workers.map(digest_of, some):
                advance()
                yield digest


def _local_digest(path: str, *, whole: bool) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            if whole:
                return hashlib.file_digest(file, "sha256").hexdigest()
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:  # ingestion puts it into quarantine, with the reason
        return _UNREADABLE


def _checksum(path: str, stores: Callable[[str], Callable[[str], str]]) -> str:
    checksum = stores(path.partition("://")[0].lower())
    try:
        return str(checksum(path))
    except Exception as error:  # each store's client has errors of its own
        raise UnreachableError(
            f"the checksum of {path} can't be had ({error}); see that the store can be reached, or "
            "set data.verify to size_and_time"
        ) from error
