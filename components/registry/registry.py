"""A model registry: numbered versions, the one that serves, and the history of changes.

```
<root>/                local folder, s3://bucket/prefix or gs://bucket/prefix; one model's versions
  registry.json        which version serves, and the history; replaced atomically
  <N>/                 a version: SavedModel with its assets, version.json, files.json,
                       and signature.json if it is signed
  schema/              see components.schema_gen.baseline
```

A version is written first, checked by its digests, and then released by a change of
`registry.json`. Numbers only grow. A registry of an earlier release has no `registry.json`; its
newest version serves. Imports neither TensorFlow nor TFX.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from components import artifact_files
from components.artifact_files import LIST_FILE, DamagedArtifactError, Described
from components.registry import signing, state
from components.registry.bucket import bucket_storage
from components.registry.errors import DamagedVersionError, PushError, RegistryError
from components.registry.local import local_storage
from components.registry.record import RECORD_FILE, VersionRecord
from components.registry.signing import SignatureState, check_signature
from components.registry.state import STATE_FILE, State
from components.registry.storage import OWN_FILES, Storage
from components.stores import StoreError, store_of

MakeRecord = Callable[[int], VersionRecord]
"""Returns the record of a version of the given number."""

_SAVED_MODEL = "saved_model.pb"
_TRIES = 100

_logger = logging.getLogger("outnumbered.registry")


@dataclass(frozen=True)
class Pushed:
    """A model in the registry.

    Attributes:
      version: the version number, which is the name of its folder.
      path: its folder, a path or a URI.
      is_new: False if the registry already had this model as its newest or its serving version.
    """

    version: int
    path: str
    is_new: bool


def open_registry(root: str | os.PathLike[str]) -> "Registry":
    """Returns the registry at a path; nothing is read or written yet.

    Args:
      root: a local folder, `s3://bucket/prefix` or `gs://bucket/prefix`; none need exist, but
        the bucket.

    Raises:
      RegistryError: the path has an unsupported scheme.
    """
    text = os.fspath(root)
    if "://" not in text:
        return Registry(local_storage(text))
    if (store := store_of(text)) is None:
        raise RegistryError(
            f"a registry must be a folder, or start with s3:// or gs://. Received: {text!r}"
        )
    return Registry(bucket_storage(text, store))


class Registry:
    """A model registry, see `open_registry`.

    Every method raises RegistryError if the registry can't be read or written, or what was asked
    can't be done; the registry is then unchanged.
    """

    def __init__(self, storage: Storage):
        """Uses the files in a storage."""
        self._storage = storage
        self.root = storage.root

    def versions(self) -> list[int]:
        """Returns the versions, oldest first; none if the registry does not exist."""
        with self._errors("read"):
            return sorted(self._versions(self._read_state()[0]))

    def check_not_empty(self) -> None:
        """Checks that there is a version; for a wrong path, there is none."""
        if not self.versions():
            raise RegistryError(f"the registry {self.root} has no versions, or does not exist")

    def serving(self) -> int | None:
        """Returns the version that serves; None if none does."""
        return self.state().serving

    def state(self) -> State:
        """Returns which version serves, and the history.

        For a registry of an earlier release they follow from the numbers of its versions.
        """
        with self._errors("read"):
            return self._read_state()[0]

    def uri(self, version: int) -> str:
        """Returns the path or URI of the folder of a version, which need not exist."""
        return self._storage.uri(version)

    def record(self, version: int) -> VersionRecord:
        """Returns the record of a version; of one of an earlier release only its number."""
        with self._errors("read"):
            self._check_exists(version)
            return self._record(version)

    def push(self, model: str | os.PathLike[str], make_record: MakeRecord) -> Pushed:
        """Copies the SavedModel in folder `model` into the registry as its newest version.

        The version serves from then on, unless its record says that it is not blessed. A model
        that equals the newest or the serving version, byte for byte, is not copied again; that
        version is returned, and one that was taken back is not served again. So a run that
        failed between the push and its record can be repeated.

        Args:
          model: local folder. It is signed if `OUTNUMBERED_SIGNING_KEY` is set.
          make_record: called with the version's number.

        Raises:
          PushError: there is no model, or the registry can't be written. No partial version is
            left in the registry.
        """
        source = Path(model)
        if not (source / _SAVED_MODEL).is_file():
            raise PushError(f"no SavedModel to push: {source / _SAVED_MODEL} does not exist")
        with self._errors("push to", PushError):
            key = signing.signing_key()
            with self._storage.locked():
                return self._push(source, make_record, key)

    def promote(self, version: int, *, force: bool = False, reason: str = "") -> None:
        """Makes a version serve.

        Args:
          version: its number.
          force: promote it although it was never blessed, which is recorded.
          reason: why, for the history.
        """
        with self._changing():
            found, _ = self._read_state()
            self._check_exists(version)
            never_blessed = not self._was_blessed(version, found)
            if never_blessed and not force:
                raise RegistryError(
                    f"version {version} of {self.root} was never blessed; promote one that was, or "
                    "force it (--force), which is recorded in the history"
                )
            self._check(version)
            self._switch(
                version,
                lambda old: old.promoted(version, _now(), forced=never_blessed, reason=reason),
            )

    def rollback(self, to: int | None = None, *, reason: str = "") -> int:
        """Makes an earlier version serve again. Nothing is copied, and no version is removed.

        Args:
          to: its number; None for the version that the serving one replaced.
          reason: why, for the history.

        Returns:
          The version that serves now.
        """
        with self._changing():
            found, _ = self._read_state()
            version = self._rollback_target(found) if to is None else to
            self._check_exists(version)
            if not self._was_blessed(version, found):
                raise RegistryError(
                    f"version {version} of {self.root} was never blessed, so it can't be rolled "
                    "back to; give another version, or promote it by force"
                )
            self._check(version)
            self._switch(version, lambda old: old.rolled_back(version, _now(), reason=reason))
            return version

    def prune(self, keep: int) -> list[int]:
        """Removes old versions; never the one that serves, nor the one that it replaced.

        Args:
          keep: number of the newest versions to keep, at least 1.

        Returns:
          The removed versions, oldest first.
        """
        if keep < 1:
            raise RegistryError(f"prune must keep at least 1 version. Received: {keep}")
        removed: list[int] = []

        def pruned(old: State) -> State:
            kept = {old.serving, old.before()}
            found = sorted(self._versions(old))
            removed[:] = [version for version in found[:-keep] if version not in kept]
            return old.without(removed) if removed else old

        with self._changing():
            # First from the file: a promotion at the same time then finds that they are gone.
            self._change(pruned)
            for version in removed:
                self._storage.remove(version)
        return removed

    def verify(self, version: int) -> SignatureState:
        """Checks all files of a version by their digests, and its signature.

        The signature is checked if `OUTNUMBERED_VERIFY_KEY` is set; then it is required.

        Returns:
          What is known of the signature.
        """
        with self._errors("read"):
            self._check_exists(version)
            return self._check(version)

    def has_lost(self, version: int) -> bool:
        """Returns whether a version that was pushed is to be pushed again.

        It is if the registry was deleted or replaced, so that it does not know of the version; or
        if the version serves, and is missing or damaged. One that was taken back or pruned is not.
        """
        with self._errors("read"):
            found, _ = self._read_state()
            if version not in found.numbers():
                return True
            if version != found.serving:
                return False
            if version not in self._versions(found):
                return True
            try:
                self._check(version)
            except DamagedVersionError:
                return True
            return False

    def fetch(self, version: int, folder: str | os.PathLike[str]) -> Path:
        """Returns a local folder with a version, after the checks of `verify`.

        Args:
          version: its number.
          folder: receives the folder of the version, unless the registry is local. A version that
            is there already and intact is not fetched again.

        Returns:
          The folder of the version: in a local registry its own.
        """
        with self._errors("read"):
            self._check_exists(version)
            return self._storage.fetch(
                version, Path(folder), lambda local: self._note(version, local)
            )

    def add_folder(self, source: str | os.PathLike[str], name: str, last: str) -> bool:
        """Copies a folder into the registry, next to the versions, unless the name exists.

        Args:
          source: the folder.
          name: its name in the registry.
          last: the file without which the folder is not complete.

        Returns:
          Whether it was copied.

        Raises:
          PushError: the registry can't be written. No partial copy is left.
        """
        with self._errors(f"write {name} to", PushError):
            return self._storage.add_folder(Path(source), name, last)

    def _push(self, source: Path, make_record: MakeRecord, key: Ed25519PrivateKey | None) -> Pushed:
        found, _ = self._read_state()
        self._storage.clean(self._versions(found))
        entries = _model_files(source)
        version = self._same(entries, found)
        is_new = version is None
        if version is None:
            records: dict[int, VersionRecord] = {}

            def finish(number: int) -> dict[str, bytes]:
                self._start_state()
                records[number] = make_record(number)
                return _own_files(entries, records[number], number, key)

            least = max(self._storage.taken() | found.numbers(), default=0) + 1
            version = self._storage.add(source, entries, least, finish)
        self._release(version)
        return Pushed(version, self.uri(version), is_new)

    def _same(self, entries: Sequence[Described], found: State) -> int | None:
        """Returns the newest or the serving version, if it is this model and intact."""
        there = self._storage.complete() - set(found.pruned)
        candidates = there & {max(there, default=0), found.serving}
        return next((each for each in sorted(candidates) if self._has(each, entries)), None)

    def _has(self, version: int, entries: Sequence[Described]) -> bool:
        try:
            if _digests(self._listed(version)) != _digests(entries):
                return False
            self._check(version)
        except (DamagedArtifactError, RegistryError):
            return False
        return True

    def _listed(self, version: int) -> list[Described]:
        """Returns the files of a version's model: those listed, or all that are there."""
        try:
            content = self._storage.read(f"{version}/{LIST_FILE}")
        except FileNotFoundError:  # of an earlier release
            return _model_files(Path(self.uri(version)))
        found = artifact_files.entries_of(content, self.uri(version))
        return [entry for entry in found if entry.name not in OWN_FILES]

    def _start_state(self) -> None:
        """Writes `registry.json` before the first version is complete.

        Without the file, a complete version would serve before it is released.
        """
        if self._storage.read_state()[0] is None:
            self._change(lambda found: found)

    def _release(self, version: int) -> None:
        """Adds a complete version to the history, unless it is there."""
        serves = self._record(version).blessed is not False

        def released(old: State) -> State:
            if version in old.released():
                return old
            return old.pushed(version, _now(), serves=serves)

        self._change(released)

    def _switch(self, version: int, change: Callable[[State], State]) -> None:
        """Makes a version serve, unless it does, or was removed in the meantime."""

        def switched(old: State) -> State:
            if version in old.pruned:
                raise self._missing(version)
            return old if old.serving == version else change(old)

        self._change(switched)

    def _change(self, change: Callable[[State], State]) -> None:
        """Replaces `registry.json`; again if another process has replaced it in the meantime."""
        for _ in range(_TRIES):
            found, tag = self._read_state()
            changed = change(found)
            if changed is found and self._storage.read_state()[0] is not None:
                return
            if self._storage.swap_state(changed.to_json(), tag):
                return
        raise RegistryError(
            f"{self._storage.uri(STATE_FILE)} was changed by other processes {_TRIES} times in a "
            "row; try again"
        )

    def _read_state(self) -> tuple[State, str | None]:
        content, tag = self._storage.read_state()
        if content is None:
            return self._state_of_numbers(), tag
        return state.parse(content, self._storage.uri(STATE_FILE)), tag

    def _state_of_numbers(self) -> State:
        found = State(serving=None)
        for version in sorted(self._storage.complete()):
            record = self._readable_record(version)
            found = found.pushed(version, record.created, serves=record.blessed is not False)
        return found

    def _readable_record(self, version: int) -> VersionRecord:
        try:
            return self._record(version)
        except RegistryError:  # to be named when this version is loaded
            return VersionRecord(version=version)

    def _versions(self, found: State) -> set[int]:
        complete = self._storage.complete()
        # A version with a record that is not in the history is what a killed push has left.
        foreign = {version for version in complete if not self._storage.is_recorded(version)}
        return (complete & found.released()) | (foreign - set(found.pruned))

    def _check_exists(self, version: int) -> None:
        if version not in self._versions(self._read_state()[0]):
            raise self._missing(version)

    def _missing(self, version: int) -> RegistryError:
        there = ", ".join(map(str, self.versions())) or "it has none"
        return RegistryError(
            f"version {version} is not in {self.root}; its versions: {there}. Received: {version}"
        )

    def _rollback_target(self, found: State) -> int:
        if (before := found.before()) is not None:
            return before
        raise RegistryError(
            f"there is no version to roll back to in {self.root}: "
            + (
                "none serves"
                if found.serving is None
                else f"version {found.serving}, which serves, replaced none that is still there"
            )
            + "; give a version (--to)"
        )

    def _was_blessed(self, version: int, found: State) -> bool:
        # Earlier releases recorded nothing, and pushed blessed models only.
        blessed = self._record(version).blessed
        return found.was_serving(version) if blessed is None else blessed

    def _record(self, version: int) -> VersionRecord:
        if not self._storage.is_recorded(version):
            return VersionRecord(version=version)
        return self._parsed_record(version, self._storage.read(f"{version}/{RECORD_FILE}"))

    def _parsed_record(self, version: int, content: bytes) -> VersionRecord:
        try:
            found = VersionRecord.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            problem = f"{RECORD_FILE}: {key + ': ' if key else ''}{first['msg']}"
            raise self._damaged(version, problem) from error
        if found.version != version:
            raise self._damaged(version, f"{RECORD_FILE} is that of version {found.version}")
        return found

    def _check(self, version: int) -> SignatureState:
        """Checks a version, of which a bucket's is copied for it."""
        found: list[SignatureState] = []
        with TemporaryDirectory() as folder:
            self._storage.fetch(
                version, Path(folder), lambda local: found.append(self._checked(version, local))
            )
        return found[-1]

    def _checked(self, version: int, local: Path) -> SignatureState:
        """Checks a version in a local folder."""
        signature = check_signature(local, f"version {version} of {self.root}")
        if artifact_files.has_list(str(local)):
            try:
                artifact_files.check(str(local), digests=True)
            except DamagedArtifactError as error:
                raise self._damaged(version, error.problem) from error
        elif not (local / _SAVED_MODEL).is_file() or (local / RECORD_FILE).exists():
            raise self._damaged(version, f"{LIST_FILE} or {_SAVED_MODEL} is missing")
        if content := _content(local / RECORD_FILE):
            self._parsed_record(version, content)
        return signature

    def _note(self, version: int, local: Path) -> None:
        """Checks a version, and says what the signature doesn't."""
        signature = self._checked(version, local)
        if signature != "valid":
            text = "signature not checked" if signature == "not checked" else signature
            _logger.info("version %d of %s: %s", version, self.root, text)

    def _damaged(self, version: int, problem: str) -> DamagedVersionError:
        return DamagedVersionError(
            f"{self.uri(version)} is damaged: {problem}. Roll back to another version "
            "(`outnumbered models rollback`), or repeat the run that pushed it: it pushes it again"
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._errors("change"):
            self.check_not_empty()
            with self._storage.locked():
                yield

    @contextmanager
    def _errors(self, what: str, kind: type[RegistryError] = RegistryError) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = "" if what == "read" else f"; it is unchanged{_advice(error)}"
            raise kind(f"can't {what} registry {self.root}: {error}{advice}") from error


def _model_files(folder: Path) -> list[Described]:
    """Returns the files of a model, without those that a registry adds; the list is trusted."""
    on_disk = set(artifact_files.names(str(folder))) - set(OWN_FILES)
    if not artifact_files.has_list(str(folder)):
        return [artifact_files.describe(str(folder), name) for name in sorted(on_disk)]
    listed = [
        entry for entry in artifact_files.described(str(folder)) if entry.name not in OWN_FILES
    ]
    more = on_disk - {entry.name for entry in listed}
    return [*listed, *(artifact_files.describe(str(folder), name) for name in sorted(more))]


def _digests(entries: Sequence[Described]) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in entries}


def _own_files(
    entries: Sequence[Described],
    record: VersionRecord,
    version: int,
    key: Ed25519PrivateKey | None,
) -> dict[str, bytes]:
    if record.version != version:
        raise ValueError(f"the record must be of version {version}. Received: {record.version}")
    content = (record.model_dump_json(indent=1) + "\n").encode()
    own = artifact_files.describe_content(RECORD_FILE, content)
    listed = artifact_files.list_text([*entries, own], check_digests=True).encode()
    signed = {signing.SIGNATURE_FILE: signing.sign(listed, key)} if key else {}
    return {LIST_FILE: listed, **signed, RECORD_FILE: content}


def _advice(error: OSError) -> str:
    if isinstance(error, StoreError):  # which says what to do
        return ""
    return ". Make it writable, free some space, or set pusher.registry to another folder"


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
