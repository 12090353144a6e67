"""A registry in S3 or Google Cloud Storage, whose objects are written all or not at all.

A push creates `<N>/claim`, which succeeds for one push only, uploads the files, reads them back,
and writes `<N>/version.json` last. `registry.json` is replaced only if it is still what was read
(`If-Match` in S3, the generation in Google Cloud Storage).
"""

import contextlib
import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from components.artifact_files import Described
from components.in_progress import owned_name
from components.registry.errors import RegistryError
from components.registry.record import RECORD_FILE
from components.registry.state import STATE_FILE
from components.registry.storage import ABANDONED_SECONDS, Finish, Storage
from components.stores import Store, StoredFile, StoreError

_CLAIM = "claim"


def bucket_storage(root: str, store: Store) -> Storage:
    """Returns the files of a registry below a prefix of a bucket."""
    return _Bucket(root.rstrip("/"), store)


class _Bucket:
    def __init__(self, root: str, store: Store):
        self.root = root
        self._store = store

    def uri(self, name: object) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        return self._store.read(self.uri(name))

    def read_state(self) -> tuple[bytes | None, str | None]:
        try:
            return self._store.read_tagged(self.uri(STATE_FILE))
        except FileNotFoundError:
            return None, None

    def swap_state(self, content: bytes, tag: str | None) -> bool:
        return self._store.write_if(self.uri(STATE_FILE), content, tag)

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def taken(self) -> set[int]:
        return set(self._objects())

    def complete(self) -> set[int]:
        found = self._objects()
        return {
            version
            for version, objects in found.items()
            if any(each.path == self.uri(f"{version}/{RECORD_FILE}") for each in objects)
        }

    def is_recorded(self, version: int) -> bool:
        return True  # or it is not complete

    def add(self, source: Path, entries: Iterable[Described], least: int, finish: Finish) -> int:
        version = self._claim(least)
        try:
            for entry in entries:
                self._upload(source / entry.name, f"{version}/{entry.name}", entry.sha256)
            self._write_own(version, finish(version))
        except BaseException:  # Ctrl-C as well: no partial version may be left.
            with contextlib.suppress(OSError):
                self.remove(version)
            raise
        return version

    def add_folder(self, source: Path, name: str, last: str) -> bool:
        if not self._may_add(name, last):
            return False
        names = sorted(path.name for path in source.iterdir() if path.name != last)
        contents = {self.uri(f"{name}/{file}"): source / file for file in [*names, last]}
        # The first file is a claim, and the last one completes the folder.
        claim, *others, end = contents
        if not self._store.write_if(claim, contents[claim].read_bytes(), None):
            return False
        try:
            for path in others:
                self._store.write(path, contents[path].read_bytes())
            return self._store.write_if(end, contents[end].read_bytes(), None)
        except BaseException:  # Or the claim would keep the next push from adding the folder.
            with contextlib.suppress(OSError):
                self._store.delete([*reversed(contents)])
            raise

    def fetch(self, version: int, folder: Path, check: Callable[[Path], object]) -> Path:
        target = folder / str(version)
        if target.is_dir():
            with contextlib.suppress(RegistryError):
                check(target)
                return target
            shutil.rmtree(target)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{owned_name()}-", dir=folder) as temporary:
            incoming = Path(temporary, str(version))
            for each in self._store.below(self.uri(f"{version}/")):
                self._download(each, version, incoming)
            check(incoming)
            incoming.rename(target)
        return target

    def remove(self, version: int) -> None:
        # Without it, the version is not complete.
        self._store.delete([self.uri(f"{version}/{RECORD_FILE}")])
        self._store.delete(each.path for each in self._store.below(self.uri(f"{version}/")))

    def clean(self, kept: set[int]) -> None:
        for version, objects in self._objects().items():
            if version not in kept and _age(objects) > ABANDONED_SECONDS:
                self.remove(version)

    def _claim(self, least: int) -> int:
        version, owner = least, owned_name().encode()
        while not self._store.write_if(self.uri(f"{version}/{_CLAIM}"), owner, None):
            version += 1
        return version

    def _upload(self, source: Path, name: str, sha256: str) -> None:
        path = self.uri(name)
        self._store.upload(source, path)
        with TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            self._store.download(path, copy)
            with copy.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise OSError(
                f"the copy differs from the model: {name} must have the SHA-256 {sha256}. "
                f"Received: {found}"
            )

    def _write_own(self, version: int, contents: Mapping[str, bytes]) -> None:
        for name, content in contents.items():
            path = self.uri(f"{version}/{name}")
            if not self._store.write_if(path, content, None) or self._store.read(path) != content:
                raise OSError(f"{path} was written by another process")

    def _may_add(self, name: str, last: str) -> bool:
        """Returns whether there is no such folder; removes an incomplete one that is a day old."""
        found = self._store.below(self.uri(f"{name}/"))
        if any(each.path == self.uri(f"{name}/{last}") for each in found):
            return False
        if found and _age(found) < ABANDONED_SECONDS:
            return False
        self._store.delete(each.path for each in found)
        return True

    def _download(self, found: StoredFile, version: int, folder: Path) -> None:
        name = found.path.removeprefix(self.uri(f"{version}/"))
        if name == _CLAIM or name.endswith("/"):  # a folder, as consoles create them
            return
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            raise StoreError(f"{found.path} can't be a file of a version; delete it")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._store.download(found.path, target)

    def _objects(self) -> dict[int, list[StoredFile]]:
        """Returns the objects of each number."""
        found: dict[int, list[StoredFile]] = defaultdict(list)
        for each in self._store.below(f"{self.root}/"):
            folder, slash, _ = each.path.removeprefix(f"{self.root}/").partition("/")
            if slash and folder.isdecimal():
                found[int(folder)].append(each)
        return found


def _age(objects: Iterable[StoredFile]) -> float:
    """Returns the seconds since the last change of any of the objects."""
    return time.time() - max(each.last_updated_in_seconds for each in objects)
