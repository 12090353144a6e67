"""A small disk of memory, mounted in a mount namespace of its own, without privileges."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults.cases import Place
from components.in_progress import remove

_NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
_LARGE = "1g"


@dataclass(frozen=True)
class Disk:
    """A mounted disk.

    Attributes:
      folder: where it is mounted; empty for processes outside the namespace.
      holder: id of the process that keeps the namespace.
    """

    folder: Path
    holder: int

    @property
    def place(self) -> Place:
        """A run's output folder is on the disk."""
        return Place(partial(_enter, self.holder), self.collect)

    def collect(self) -> None:
        """Copies the disk's content to the folder outside the namespace."""
        for path in self.folder.iterdir():  # deleting the folder itself would unmount the disk
            remove(path)
        inside = Path(f"/proc/{self.holder}/root{self.folder}")
        shutil.copytree(inside, self.folder, symlinks=True, dirs_exist_ok=True)

    def enlarge(self) -> None:
        """Gives the disk more space than a run takes."""
        self.change(f"mount -o remount,size={_LARGE} {self.folder}")

    def change(self, script: str) -> None:
        """Runs a shell script in the namespace."""
        enter = ["nsenter", "--user", "--mount", "--preserve-credentials", "--target"]
        subprocess.run([*enter, str(self.holder), "sh", "-ec", script], check=True)


@contextmanager
def disk(folder: Path, size: str = _LARGE) -> Iterator[Disk]:
    """Mounts a disk at a folder, which is emptied.

    Args:
      folder: where it is mounted.
      size: as for `mount -o size=`, such as 400k.

    Raises:
      OSError: users of this machine can't mount a disk.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    script = f"mount -t tmpfs -o size={size} tmpfs {folder} && echo mounted && read end"
    with subprocess.Popen(
        [*_NAMESPACE, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            raise OSError("users of this machine can't mount a small disk (unshare --mount)")
        try:
            yield Disk(folder, holder.pid)
        finally:
            holder.kill()


def can_mount(folder: Path) -> bool:
    """Returns whether users of this machine can mount a disk at a folder, which is emptied.

    If not, it says so on standard error.
    """
    try:
        with disk(folder):
            return True
    except OSError as error:
        print(f"faults that need a disk are left out: {error}", file=sys.stderr)
        return False


def _enter(holder: int) -> None:
    """Enters the namespaces of a process; the caller has no threads."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = os.getcwd()
    for kind in ("user", "mnt"):
        with open(f"/proc/{holder}/ns/{kind}", "rb") as namespace:
            if libc.setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), f"can't enter the {kind} namespace of {holder}")
    os.chdir(folder)
