"""Files from which an interrupted run resumes, which are checked before they are used.

Each file ends with a digest of its content. If the digest does not match, for example after a crash
or on a full or damaged disk, the file is removed with a warning, and the caller computes its
content again.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfx.dsl.io import fileio

from components import stop_signals
from components.whole_file import whole_file

_LOGGER = logging.getLogger("outnumbered.checked_file")

_DIGEST_BYTES = hashlib.sha256().digest_size
_CHUNK_BYTES = 1 << 20

Append = Callable[[bytes], object]


@stop_signals.deferred()
def write(path: str, content: bytes) -> None:
    """Writes a file for `read`; after a crash the previous one is still there.

    Args:
      path: local or remote; its folder is created.
      content: the whole content.
    """
    if "://" not in path:
        with written(Path(path)) as append:
            append(content)
        return
    digest = _start(path, "")
    digest.update(content)
    # A unique name, since two trainings of one pipeline root may save the same state.
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    with fileio.open(partial, "wb") as file:
        file.write(content + digest.digest())
    fileio.rename(partial, path, overwrite=True)


def read(path: str) -> bytes | None:
    """Returns what `write` wrote; None if the file does not exist or is damaged."""
    if not fileio.exists(path):
        return None
    with fileio.open(path, "rb") as file:
        stored = file.read()
    content, end = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    digest = _start(path, "")
    digest.update(content)
    if digest.digest() == end:
        return content
    discard(path)
    return None


@contextmanager
def written(path: Path, layout: str = "") -> Iterator[Append]:
    """Yields a function that appends to a local file, which is complete when the block ends.

    Until then, readers see the previous file.

    Args:
      path: its folder is created.
      layout: how to read the content, such as its shape; `is_intact` requires the same.
    """
    digest = _start(str(path), layout)
    with whole_file(path) as hidden, hidden.open("wb") as file:

        def append(part: bytes) -> None:
            file.write(part)
            digest.update(part)

        yield append
        file.write(digest.digest())


def is_intact(path: Path, layout: str = "") -> bool:
    """Returns whether a local file is as `written` wrote it, and removes it if not.

    Reads the whole file once, in pieces.
    """
    if not path.exists():
        return False
    digest = _start(str(path), layout)
    with path.open("rb") as file:
        left = max(os.fstat(file.fileno()).st_size - _DIGEST_BYTES, 0)
        while part := file.read(min(left, _CHUNK_BYTES)):
            digest.update(part)
            left -= len(part)
        if digest.digest() == file.read():
            return True
    discard(str(path))
    return False


def discard(path: str) -> None:
    """Removes a damaged file, local or remote, and warns that its content is computed again."""
    _LOGGER.warning("%s is damaged: it is removed, and its content is computed again", path)
    fileio.remove(path)


def _start(path: str, layout: str) -> "hashlib._Hash":
    """Returns a digest of the end of the path, so that a file of another folder does not match."""
    end = "/".join(path.split("/")[-2:])
    return hashlib.sha256(f"{end}\n{layout}\n".encode())
