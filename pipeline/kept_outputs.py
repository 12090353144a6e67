"""Detects outputs of earlier runs that have been changed or deleted.

TFX's cache only checks that an output's folder exists. This module records the files of each
output when a run ends, and compares them before the next run. An output that has changed, or
whose pushed model is no longer in the registry, is removed from the cache, and so made again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from components.whole_file import write_text

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore


_RECORD = "outputs.json"
_DESTINATION = "pushed_destination"

Artifact = Any
"""An ml_metadata message; that module has no type annotations."""

Entry = list[str | int]
"""A file: relative path, size in bytes, and modification time in nanoseconds or 0."""


class State(TypedDict):
    """The state of an output: a digest of its files, and the files of the model it pushed."""

    files: str
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

    def withdraw_damaged(self) -> list[str]:
        """Removes outputs from the cache that were changed or deleted.

        Returns:
          The path of each removed output.
        """
        store, known = self._store(), self._read()
        outputs = _live(store)
        damaged = [output for output in outputs if not _is_intact(output, known.get(_name(output)))]
        for artifact in damaged:
            artifact.state = artifact.DELETED
        if damaged:
            store.put_artifacts(damaged)
        return [_damaged_path(artifact) for artifact in damaged]

    def folders(self) -> set[str]:
        """Returns the folders of all outputs of finished steps, changed ones included."""
        return {artifact.uri for artifact in self._store().get_artifacts()}

    def record(self) -> None:
        """Saves the current state of all outputs that are not recorded yet."""
        known = self._read()
        found = {
            _name(artifact): known.get(_name(artifact)) or _state(artifact)
            for artifact in _live(self._store())
        }
        write_text(self.path, json.dumps(found))

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


def _is_intact(artifact: Artifact, recorded: State | None) -> bool:
    state = _state(artifact)
    if recorded is None:  # made by an older version of the project, or the run was killed
        pushed = state["pushed"] or not _destination(artifact)
        return bool(pushed) and any(_entries(artifact.uri)) and _is_complete(artifact.uri)
    # Files may be added to a version in the registry, such as a server's warm-up requests.
    lost = [entry for entry in recorded["pushed"] if entry not in state["pushed"]]
    return state["files"] == recorded["files"] and not lost


def _is_complete(uri: str) -> bool:
    from components import example_files

    return example_files.is_complete(uri)


def _state(artifact: Artifact) -> State:
    files = sorted(_entries(artifact.uri))
    destination = _destination(artifact)
    return {
        "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "pushed": sorted(_entries(destination, with_times=True)) if destination else [],
    }


def _destination(artifact: Artifact) -> str:
    # Not by indexing, which would add the key to the message.
    found = artifact.custom_properties.get(_DESTINATION)
    return found.string_value if found else ""


def _damaged_path(artifact: Artifact) -> str:
    destination = _destination(artifact)
    return destination if destination and any(_entries(artifact.uri)) else artifact.uri


def _entries(folder: str, *, with_times: bool = False) -> Iterator[Entry]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            changed = status.st_mtime_ns if with_times else 0
            yield [os.path.relpath(path, folder), status.st_size, changed]
