"""Detects outputs of earlier runs that have been changed or deleted.

TFX's cache only checks that an output's folder exists. This module records the files of each
output when a run ends, with their times, and compares them before the next run. An output whose
files differ from the record is compared with its list of files, see `components.artifact_files`, in
full; the newest of each kind is always compared with it, since a failing disk changes no time. Of
Examples, whose shards are large and checked by their readers, only the other files are. An output
that has changed, or whose pushed model is no longer in the registry, is removed from the cache, and
so made again.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from components.stores import store_of
from components.whole_file import write_text

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore


_RECORD = "outputs.json"
_EXAMPLES = "Examples"
_DESTINATION = "pushed_destination"

Artifact = Any
"""An ml_metadata message; that module has no type annotations."""

Entry = list[str | int]
"""A file: relative path, size in bytes, and modification time in nanoseconds or checksum."""


class State(TypedDict):
    """The state of an output.

    Attributes:
      files: digest of its files' names, sizes and times.
      contents: digest of the contents of the files beside the shards of Examples; of other outputs
        empty.
      properties: digest of its properties in the metadata store, of which a changed bit could
        otherwise name other splits or another pushed model.
      pushed: the files of the model it pushed.
    """

    files: str
    contents: str
    properties: str
    pushed: list[Entry]


_RECORDS = TypeAdapter(dict[str, State])


class KeptOutputs:
    """The outputs in the metadata store of an output folder.

    Attributes:
      path: file of the record.
    """

    def __init__(self, folder: Path, connection: Any):
        """Prepares access to the outputs.

        Args:
          folder: folder of the record.
          connection: ConnectionConfig of the metadata store.
        """
        self.path = folder / _RECORD
        self._connection = connection
        self._checked: dict[str, State] = {}

    def withdraw_damaged(self) -> list[str]:
        """Removes outputs from the cache that were changed or deleted.

        Returns:
          The path of each removed output.
        """
        store, known = self._store(), self._read()
        outputs = sorted(_live(store), key=lambda output: output.id)
        newest = {os.path.dirname(output.uri): output.id for output in outputs}.values()
        damaged = []
        for output in outputs:
            recorded, state = known.get(_name(output)), _state(output)
            if _is_intact(output, state, recorded, is_newest=output.id in newest):
                pushed = recorded["pushed"] if recorded else state["pushed"]
                self._checked[_name(output)] = {**state, "pushed": pushed}
            else:
                damaged.append(output)
        return _withdraw(store, damaged)

    def withdraw_named(self, message: str) -> list[str]:
        """Removes outputs from the cache that an error names and that are damaged.

        Args:
          message: of the error with which a run failed.

        Returns:
          The path of each removed output.
        """
        store = self._store()
        named = [
            output
            for output in _live(store)
            if re.search(rf"{re.escape(output.uri)}(?!\d)", message)
        ]
        return _withdraw(store, [output for output in named if not _matches_list(output.uri)])

    def folders(self) -> set[str]:
        """Returns the folders of all outputs of finished steps, changed ones included."""
        return {artifact.uri for artifact in self._store().get_artifacts()}

    def record(self) -> None:
        """Saves the state of all outputs: as it was checked, or is now if they are new."""
        found = {
            _name(artifact): self._checked.get(_name(artifact)) or _state(artifact)
            for artifact in _live(self._store())
        }
        write_text(self.path, json.dumps(found))

    def remove_withdrawn(self) -> None:
        """Deletes the files of all outputs that are not in the cache any more."""
        for artifact in self._store().get_artifacts():
            if artifact.state == artifact.DELETED:
                shutil.rmtree(artifact.uri, ignore_errors=True)

    def _store(self) -> "MetadataStore":
        from ml_metadata.metadata_store import MetadataStore

        return MetadataStore(self._connection)

    def is_record_damaged(self) -> bool:
        """Whether the record exists and can't be used; it is then replaced by the next one."""
        return self.path.exists() and _parsed(self.path) is None

    def _read(self) -> Mapping[str, State]:
        return _parsed(self.path) or {}


def _parsed(path: Path) -> Mapping[str, State] | None:
    try:
        return _RECORDS.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None


def _live(store: "MetadataStore") -> list[Artifact]:
    return [artifact for artifact in store.get_artifacts() if artifact.state == artifact.LIVE]


def _name(artifact: Artifact) -> str:
    # With its time, since ids and paths start over if the metadata store is deleted.
    return f"{artifact.uri} {artifact.create_time_since_epoch}"


def _withdraw(store: "MetadataStore", outputs: Sequence[Artifact]) -> list[str]:
    for output in outputs:
        output.state = output.DELETED
    if outputs:
        store.put_artifacts(outputs)
    return [_damaged_path(output) for output in outputs]


def _is_intact(
    artifact: Artifact, state: State, recorded: State | None, *, is_newest: bool
) -> bool:
    if recorded is None:  # the run was killed, or the record is damaged or of an earlier release
        return _is_as_listed(artifact)
    # Files may be added to a version in the registry, such as a server's warm-up requests.
    lost = any(entry not in state["pushed"] for entry in recorded["pushed"])
    if lost or any(state[key] != recorded[key] for key in ("properties", "contents")):
        return False
    if state["files"] != recorded["files"]:
        return _matches_list(artifact.uri)
    # Shards are large, and their readers check them.
    is_checked = is_newest and artifact.type != _EXAMPLES
    return not is_checked or _is_as_listed(artifact)


def _is_as_listed(artifact: Artifact) -> bool:
    from components import artifact_files  # imports TensorFlow

    folder = artifact_files.listed_folder(artifact.uri)
    if not artifact_files.has_list(folder):  # of an earlier release, whose code differs
        return any(_entries(folder))
    return _is_pushed(artifact) and _matches_list(artifact.uri)


def _matches_list(uri: str) -> bool:
    from components import artifact_files  # imports TensorFlow

    return artifact_files.is_intact(artifact_files.listed_folder(uri), digests=True)


def _is_pushed(artifact: Artifact) -> bool:
    """Returns whether the model that an output says was pushed is intact; True if none was."""
    from components import artifact_files  # imports TensorFlow

    destination = _destination(artifact)
    return not destination or artifact_files.is_intact(destination)


def _state(artifact: Artifact) -> State:
    files = sorted(_entries(artifact.uri))
    destination = _destination(artifact)
    return {
        "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "contents": _digest_of_small_files(artifact.uri) if artifact.type == _EXAMPLES else "",
        "properties": _digest_of_properties(artifact),
        "pushed": sorted(_pushed_entries(destination)) if destination else [],
    }


def _digest_of_small_files(folder: str) -> str:
    """Digests the files that are in no split's folder."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).glob("*")):
        if file.is_file():
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.name}\0{content}\n".encode())
    return digest.hexdigest()


def _digest_of_properties(artifact: Artifact) -> str:
    properties = {**artifact.properties, **artifact.custom_properties}
    values = {name: value.SerializeToString().hex() for name, value in properties.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _destination(artifact: Artifact) -> str:
    # Not by indexing, which would add the key to the message.
    found = artifact.custom_properties.get(_DESTINATION)
    return found.string_value if found else ""


def _damaged_path(artifact: Artifact) -> str:
    destination = _destination(artifact)
    return destination if destination and any(_entries(artifact.uri)) else artifact.uri


def _pushed_entries(destination: str) -> Iterator[Entry]:
    """Yields the files of a pushed model, of which an object has a checksum instead of a time."""
    if (store := store_of(destination)) is None:
        yield from _entries(destination)
        return
    for found in store.below(f"{destination}/"):
        yield [found.path.removeprefix(f"{destination}/"), found.size_in_bytes, found.checksum]


def _entries(folder: str) -> Iterator[Entry]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            yield [os.path.relpath(path, folder), status.st_size, status.st_mtime_ns]
