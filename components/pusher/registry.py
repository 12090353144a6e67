"""A model registry: a folder with a version a model, `1`, `2`, and so on, as TF Serving reads it.

A version appears whole or not at all. A model is copied into a hidden folder beside the
versions, flushed to disk, and renamed into place, which POSIX does in one step. Pushes
to one registry take turns by a lock on `.lock`; where a file system does not honour the
lock between machines, the rename still never lands on a version that is there.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.whole_file import flush

_LOCK = ".lock"
_INCOMING = ".incoming-"
_SAVED_MODEL = "saved_model.pb"
# A push from another machine that is older than this is dead: copying takes minutes.
_DEAD_AFTER_SECONDS = 24 * 3600


class PushError(Exception):
    """A model that could not be pushed; the registry is as it was."""


@dataclass(frozen=True)
class Pushed:
    """Where a model lies in the registry.

    Attributes:
      version: the integer that names its folder.
      path: its folder.
      is_new: False where the newest version already was this very model.
    """

    version: int
    path: Path
    is_new: bool


def push(model: str | os.PathLike, registry: str | os.PathLike) -> Pushed:
    """Puts the SavedModel in folder `model` into `registry` as its newest version.

    A model that equals the newest version, byte for byte, is not copied again: that
    version is the answer. So a run that died between the push and its record can be
    repeated.

    Raises:
      PushError: there is no model, or the registry cannot be written. Nothing half-made
        is left.
    """
    source, root = Path(model), Path(registry)
    if "://" in str(registry):
        raise PushError(
            f"registry {registry} is not a folder; mount the bucket and name its folder"
        )
    if not (source / _SAVED_MODEL).is_file():
        raise PushError(f"no SavedModel to push in {source}: it has no {_SAVED_MODEL}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _turn(root):
            return _push(source, root)
    except OSError as error:
        raise PushError(
            f"cannot push to registry {root}: {error}; nothing was left there. "
            "Make it writable, free some space, or set pusher.registry to another folder"
        ) from error


def add_folder(source: str | os.PathLike, registry: str | os.PathLike, name: str) -> bool:
    """Copies a folder into a registry beside the versions, unless there is one of that name.

    Returns:
      Whether it was copied.

    Raises:
      PushError: the registry cannot be written. Nothing half-made is left.
    """
    root = Path(registry)
    try:
        with _turn(root):
            _clean(root)
            if (root / name).exists():
                return False
            with _copied(Path(source), root) as incoming:
                incoming.rename(root / name)
        flush(root)
    except OSError as error:
        if (root / name).exists():  # by another machine, where locks are kept apart
            return False
        raise PushError(
            f"cannot write {name} to registry {root}: {error}; nothing of it was left there. "
            "Make the registry writable or free some space, and run again"
        ) from error
    return True


def versions(registry: str | os.PathLike) -> list[int]:
    """The versions in a registry, oldest first; none where there is no registry."""
    root = Path(registry)
    found = root.iterdir() if root.is_dir() else []
    return sorted(int(path.name) for path in found if path.name.isdecimal() and path.is_dir())


def digest(folder: Path) -> str:
    """SHA-256, in hex, of the files of a folder: their relative paths and contents."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def _push(source: Path, root: Path) -> Pushed:
    _clean(root)
    newest = max(versions(root), default=0)
    if newest and digest(root / str(newest)) == digest(source):
        return Pushed(newest, root / str(newest), is_new=False)
    with _copied(source, root) as incoming:
        version = _rename(incoming, root, newest + 1)
    flush(root)
    return Pushed(version, root / str(version), is_new=True)


@contextmanager
def _copied(source: Path, root: Path) -> Iterator[Path]:
    """A hidden copy of a folder beside the versions, to be renamed; it goes if that fails."""
    incoming = root / _incoming_name(socket.gethostname(), os.getpid())
    try:
        _copy(source, incoming)
        _flush(incoming)
        yield incoming
    except BaseException:  # Ctrl-C as well: nothing half-made may stay.
        shutil.rmtree(incoming, ignore_errors=True)
        raise


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Waits until no other push is under way; the lock ends with its process."""
    with (root / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _incoming_name(host: str, process: int) -> str:
    # Hosts have no @ in their names: vm never takes a push of vm-2 for its own.
    return f"{_INCOMING}{host}@{process}-{uuid.uuid4().hex}"


def _clean(root: Path) -> None:
    """Removes what dead pushes left.

    The lock is ours, so no push of this machine is under way, unless the file system keeps no
    locks. One of another machine might be: it is left alone for a day.
    """
    for path in root.glob(f"{_INCOMING}*"):
        try:
            if _has_died(path.name) or time.time() - path.stat().st_mtime > _DEAD_AFTER_SECONDS:
                shutil.rmtree(path)
        except FileNotFoundError:  # it was that of a push which has ended just now
            continue


def _has_died(name: str) -> bool:
    """Whether an incoming folder is of a process of this machine that has ended."""
    host, _, rest = name.removeprefix(_INCOMING).partition("@")
    process = rest.partition("-")[0]
    if host != socket.gethostname() or not process.isdecimal():
        return False
    return int(process) != os.getpid() and not Path("/proc", process).exists()


def _copy(source: Path, target: Path) -> None:
    """Copies a folder's contents, without owners and modes; stops at the first error."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)


def _rename(incoming: Path, root: Path, version: int) -> int:
    """Gives `incoming` the first free version from `version` on."""
    while True:
        # Python's rename would replace an empty folder, so what exists is passed by.
        target = root / str(version)
        try:
            if not target.exists():
                incoming.rename(target)
                return version
        except OSError:
            if not target.exists():
                raise
        version += 1


def _flush(folder: Path) -> None:
    """Brings every file and folder to the disk: a rename must not outrun its contents."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)
