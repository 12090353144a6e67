"""Hidden files in progress, whose names tell whether the process that writes them has ended.

On another machine nobody can look, so a file that is a day old is considered abandoned.
"""

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

_ABANDONED_SECONDS = 24 * 60 * 60


def owned_name(process: int | None = None, host: str | None = None) -> str:
    """Returns a name that no other process uses.

    Args:
      process: id of the process that owns the file; default: this one.
      host: name of its machine; default: this one's.
    """
    # Host names contain no @, so host vm never mistakes a file of vm-2 for its own.
    return f"{host or socket.gethostname()}@{process or os.getpid()}-{uuid.uuid4().hex}"


def has_died(name: str) -> bool:
    """Returns whether a name of `owned_name` is of a process of this machine that has ended.

    Args:
      name: the name; more text may follow.
    """
    host, _, rest = name.partition("@")
    process = rest.partition("-")[0]
    if host != socket.gethostname() or not process.isdecimal():
        return False
    return int(process) != os.getpid() and not Path("/proc", process).exists()


def remove_abandoned(found: Iterable[Path], prefix: str = ".") -> None:
    """Removes the files and folders that processes were writing when they were killed.

    Args:
      found: hidden files and folders; those that a running process is writing are kept.
      prefix: start of their names, before that of `owned_name`.
    """
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # its writer has just finished it
            if has_died(path.name.removeprefix(prefix)) or _is_old(path):
                remove(path)


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_old(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS
