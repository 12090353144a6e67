"""A model registry: a folder with one version per model, `1`, `2`, and so on, as for TF Serving.

A version appears atomically. A model is copied into a hidden folder next to the versions,
flushed to disk, and renamed, which POSIX does in one step. Pushes to one registry are
serialized by a lock on `.lock`; if a file system does not support the lock between machines,
the rename still never replaces an existing version.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components import artifact_files, in_progress
from components.pusher.versions import versions
from components.whole_file import flush

_LOCK = ".lock"
_INCOMING = ".incoming-"
_SAVED_MODEL = "saved_model.pb"


class PushError(Exception):
    """A model that could not be pushed; the registry is unchanged."""


@dataclass(frozen=True)
class Pushed:
    """A model in the registry.

    Attributes:
      version: the version number, which is the name of its folder.
      path: its folder.
      is_new: False if the newest version was already identical to this model.
    """

    version: int
    path: Path
    is_new: bool


def push(model: str | os.PathLike, registry: str | os.PathLike) -> Pushed:
    """Copies the SavedModel in folder `model` into `registry` as its newest version.

    A model that equals the newest version, byte for byte, is not copied again; that version
    is returned. So a run that failed between the push and its record can be repeated.

    Raises:
      PushError: there is no model, or the registry can't be written. No partial copy is left.
    """
    source, root = Path(model), Path(registry)
    if "://" in str(registry):
        raise PushError(
            "the registry must be a folder; mount the bucket and give the folder it is mounted "
            f"at. Received: {str(registry)!r}"
        )
    if not (source / _SAVED_MODEL).is_file():
        raise PushError(f"no SavedModel to push: {source / _SAVED_MODEL} does not exist")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):
            return _push(source, root)
    except OSError as error:
        raise PushError(
            f"can't push to registry {root}: {error}; no partial copy was left there. "
            "Make it writable, free some space, or set pusher.registry to another folder"
        ) from error


def add_folder(source: str | os.PathLike, registry: str | os.PathLike, name: str) -> bool:
    """Copies a folder into a registry, next to the versions, unless the name already exists.

    Returns:
      Whether it was copied.

    Raises:
      PushError: the registry can't be written. No partial copy is left.
    """
    root = Path(registry)
    try:
        with _locked(root):
            _clean(root)
            if (root / name).exists():
                return False
            with _copied(Path(source), root) as incoming:
                incoming.rename(root / name)
        flush(root)
    except OSError as error:
        if (root / name).exists():  # created by another machine without a shared lock
            return False
        raise PushError(
            f"can't write {name} to registry {root}: {error}; no partial copy was left there. "
            "Make the registry writable or free some space, and run again"
        ) from error
    return True


def digest(folder: Path) -> str:
    """Returns the SHA-256, in hex, of the relative paths and contents of a folder's files."""
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
    """Makes a hidden copy of a folder, to be renamed in the block; removes it on an error."""
    incoming = root / f"{_INCOMING}{in_progress.owned_name()}"
    try:
        _copy(source, incoming)
        _check(incoming)
        _flush(incoming)
        yield incoming
    except BaseException:  # Ctrl-C as well: no partial copy may be left.
        shutil.rmtree(incoming, ignore_errors=True)
        raise


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Waits until no other push is in progress; the lock is released when its process ends."""
    with (root / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _clean(root: Path) -> None:
    """Removes the remains of failed pushes.

    This process has the lock, so no other push of this machine is in progress, unless the file
    system has no locks. One of another machine may be: its folder is kept for a day.
    """
    in_progress.remove_abandoned(root.glob(f"{_INCOMING}*"), _INCOMING)


def _copy(source: Path, target: Path) -> None:
    """Copies a folder's contents, without owners and modes; stops at the first error."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)


def _check(copy: Path) -> None:
    """Checks a copy by the list of the model's files, which was copied too."""
    if artifact_files.has_list(str(copy)):
        try:
            artifact_files.check(str(copy))
        except artifact_files.DamagedArtifactError as error:
            raise OSError(f"the copy differs from the model: {error.problem}") from error


def _rename(incoming: Path, root: Path, version: int) -> int:
    """Renames `incoming` to the first free version from `version` on, and returns it."""
    while True:
        # Python's rename would replace an empty folder, so existing versions are skipped.
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
    """Flushes every file and folder to disk, so that no rename precedes its contents."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)
