"""A folder that is created atomically."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder to fill and renames it to `folder` if the block succeeds.

    After an error, including Ctrl-C, the hidden folder is removed. If the process is killed, it
    is removed by the next call for the same folder.

    Args:
        folder: An absolute path that does not exist, or is an empty folder.

    Yields:
        The hidden folder, empty, next to `folder`.

    Raises:
        FileExistsError: If `folder` was created by another process in the meantime.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.unfinished-"
    _remove_abandoned(folder.parent, prefix)
    hidden = folder.parent / f"{prefix}{uuid.uuid4().hex}"
    hidden.mkdir()
    lock = _lock(hidden)
    try:
        yield hidden
        _rename(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _rename(hidden: Path, folder: Path) -> None:
    try:
        hidden.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        message = (
            f"{folder} was created by another process in the meantime; this result is discarded"
        )
        raise FileExistsError(message) from error


def _remove_abandoned(parent: Path, prefix: str) -> None:
    # Not with glob, since the folder's name may contain pattern characters.
    for path in [path for path in parent.iterdir() if path.name.startswith(prefix)]:
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Locks a folder for the life of this process; returns None if another has locked it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
