"""Digests of files' contents: they tell an image that was rewritten in place from what it was.

Only the standard library is imported; Beam's file systems come in for files in a bucket.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from components.beam_io import beam_io
from components.image_example_gen import files

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
    """
    remaining = iter(paths)
    with ThreadPoolExecutor(_WORKERS) as workers:
        # Some at a time: a pool takes in all its work before it gives anything back.
        while some := list(itertools.islice(remaining, _AT_ONCE)):
            for digest in workers.map(lambda path: _digest(path, verify), some):
                advance()
                yield digest


def _digest(path: str, verify: Verify) -> str:
    if verify == "size_and_time":
        return ""
    if files.is_remote(path):
        return _checksum(path) if verify == "content" else ""
    try:
        with open(path, "rb", buffering=0) as file:
            if verify == "content":
                return hashlib.file_digest(file, "sha256").hexdigest()
            return hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError:  # ingestion puts it into quarantine, with the reason
        return _UNREADABLE


def _checksum(path: str) -> str:
    beam = beam_io()
    try:
        return str(beam.filesystems.FileSystems.checksum(path))
    except beam.filesystem.BeamIOError:  # as above
        return _UNREADABLE
