"""A registry in a local or mounted folder.

A version appears atomically. A model is copied into a hidden folder next to the versions, flushed
to disk, and renamed, which POSIX does in one step. Changes of one registry are serialized by a lock
on `.lock`; if a file system does not support the lock between machines, the rename still never
replaces an existing version.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components import artifact_files, in_progress
from components.artifact_files import Described
from components.registry.record import RECORD_FILE
from components.registry.state import STATE_FILE
from components.registry.storage import ABANDONED_SECONDS, Finish, Storage
from components.whole_file import flush, remove_unfinished, whole_file

_LOCK = ".lock"
_INCOMING = ".incoming-"
_SAVED_MODEL = "saved_model.pb"
# A version that has lost one of them must be named as damaged, and not an older one used.
_MARKS = (_SAVED_MODEL, artifact_files.LIST_FILE, RECORD_FILE)


def local_storage(root: str) -> Storage:
    """Returns the files of a registry in a folder, which need not exist."""
    return _Local(root)


class _Local:
    def __init__(self, root: str):
        self.root = root
        self._root = Path(root)

    def uri(self, name: object) -> str:
        return str(self._root / str(name))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()

    def read_state(self) -> tuple[bytes | None, str | None]:
        try:
            return self.read(STATE_FILE), None
        except (FileNotFoundError, NotADirectoryError):
            return None, None

    def swap_state(self, content: bytes, tag: str | None) -> bool:
        # The caller has the lock, so the file has not changed.
        remove_unfinished(self._root / STATE_FILE)
        with whole_file(self._root / STATE_FILE) as hidden:
            hidden.write_bytes(content)
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def taken(self) -> set[int]:
        found = self._root.iterdir() if self._root.is_dir() else iter(())
        return {int(path.name) for path in found if path.name.isdecimal()}

    def complete(self) -> set[int]:
        return {
            version
            for version in self.taken()
            if any((self._root / str(version) / mark).is_file() for mark in _MARKS)
        }

    def is_recorded(self, version: int) -> bool:
        return (self._root / str(version) / RECORD_FILE).is_file()

    def add(self, source: Path, entries: Iterable[Described], least: int, finish: Finish) -> int:
        names = [entry.name for entry in entries]
        with self._incoming() as incoming:
            _copy(source, names, incoming)
            version = least
            while True:
                for name, content in finish(version).items():
                    (incoming / name).write_bytes(content)
                _check(incoming)
                _flush(incoming)
                if self._rename(incoming, version):
                    break
                version += 1  # another machine without a shared lock has taken it
        flush(self._root)
        return version

    def add_folder(self, source: Path, name: str, last: str) -> bool:
        target = self._root / name
        try:
            with self.locked():
                self._clean_incoming()
                if target.exists():
                    return False
                with self._incoming() as incoming:
                    _copy(source, artifact_files.names(str(source)), incoming)
                    _check(incoming)
                    _flush(incoming)
                    incoming.rename(target)
        except OSError:
            if target.exists():  # created by another machine without a shared lock
                return False
            raise
        flush(self._root)
        return True

    def fetch(self, version: int, folder: Path, check: Callable[[Path], object]) -> Path:
        found = self._root / str(version)
        check(found)
        return found

    def remove(self, version: int) -> None:
        hidden = self._root / f"{_INCOMING}{in_progress.owned_name()}"
        (self._root / str(version)).rename(hidden)
        shutil.rmtree(hidden)

    def clean(self, kept: set[int]) -> None:
        self._clean_incoming()
        for version in sorted(self.complete() - kept):
            if _age(self._root / str(version)) > ABANDONED_SECONDS:
                self.remove(version)

    def _clean_incoming(self) -> None:
        """Removes the remains of failed pushes.

        This process has the lock, so no other push of this machine is in progress, unless the file
        system has no locks. One of another machine may be: its folder is kept for a day.
        """
        in_progress.remove_abandoned(self._root.glob(f"{_INCOMING}*"), _INCOMING)

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """Makes a hidden folder, to be renamed in the block; removes it on an error."""
        incoming = self._root / f"{_INCOMING}{in_progress.owned_name()}"
        try:
            incoming.mkdir()
            yield incoming
        except BaseException:  # Ctrl-C as well: no partial copy may be left.
            shutil.rmtree(incoming, ignore_errors=True)
            raise

    def _rename(self, incoming: Path, version: int) -> bool:
        """Renames `incoming` to a version, unless there is one with this number."""
        # Python's rename would replace an empty folder, so existing versions are skipped.
        target = self._root / str(version)
        try:
            if not target.exists():
                incoming.rename(target)
                return True
        except OSError:
            if not target.exists():
                raise
        return False


def _copy(source: Path, names: Iterable[str], target: Path) -> None:
    """Copies files, without owners and modes; stops at the first error."""
    for name in sorted(names):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copy)


def _check(copy: Path) -> None:
    """Checks a copy by the list of the original's files, which was copied too."""
    if artifact_files.has_list(str(copy)):
        try:
            artifact_files.check(str(copy))
        except artifact_files.DamagedArtifactError as error:
            raise OSError(f"the copy differs from the model: {error.problem}") from error


def _flush(folder: Path) -> None:
    """Flushes every file and folder to disk, so that no rename precedes its contents."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def _age(folder: Path) -> float:
    return time.time() - folder.stat().st_mtime
