"""Whether the outputs of earlier runs are still as they were left.

TFX answers from its cache as long as an output's folder exists. Here each output's files are
recorded when a run ends, and compared before the next: what has lost files, or was pushed to a
registry that no longer holds it, is withdrawn from the cache, and so made again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from components.whole_file import write_text

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore

_RECORD = "outputs.json"
_DESTINATION = "pushed_destination"

Artifact = Any
"""Of ml_metadata, whose module of messages has no types."""

Entry = list[str | int]
"""Relative path, size in bytes, and time of change in nanoseconds or 0."""


class State(TypedDict):
    """What the files of an output are like: a digest, and the entries of the model it pushed."""

    files: str
    pushed: list[Entry]


class KeptOutputs:
    """The outputs that the metadata of an output folder know of."""

    def __init__(self, folder: Path, connection: Any):
        """Opens them.

        Args:
          folder: where the record is kept.
          connection: ConnectionConfig of the metadata.
        """
        self._path = folder / _RECORD
        self._connection = connection

    def withdraw_damaged(self) -> list[str]:
        """Takes from the cache what is no longer as it was left.

        Returns:
          What was withdrawn: the path of each.
        """
        store, known = self._store(), self._read()
        outputs = _live(store)
        damaged = [output for output in outputs if not _is_whole(output, known.get(_name(output)))]
        for artifact in damaged:
            artifact.state = artifact.DELETED
        if damaged:
            store.put_artifacts(damaged)
        return [_place(artifact) for artifact in damaged]

    def record(self) -> None:
        """Keeps what the files of all outputs are like now."""
        known = self._read()
        found = {
            _name(artifact): known.get(_name(artifact)) or _state(artifact)
            for artifact in _live(self._store())
        }
        write_text(self._path, json.dumps(found))

    def _store(self) -> "MetadataStore":
        from ml_metadata.metadata_store import MetadataStore

        return MetadataStore(self._connection)

    def _read(self) -> Mapping[str, State]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}


def _live(store: "MetadataStore") -> list[Artifact]:
    return [artifact for artifact in store.get_artifacts() if artifact.state == artifact.LIVE]


def _name(artifact: Artifact) -> str:
    # Its time too: identities and places begin anew where the metadata were deleted.
    return f"{artifact.uri} {artifact.create_time_since_epoch}"


def _is_whole(artifact: Artifact, recorded: State | None) -> bool:
    state = _state(artifact)
    if recorded is None:  # by an older version, or the run was killed
        pushed = state["pushed"] or not _destination(artifact)
        return bool(pushed) and any(_entries(artifact.uri))
    # Others may add to a version in the registry, such as what servers warm up with.
    lost = [entry for entry in recorded["pushed"] if entry not in state["pushed"]]
    return state["files"] == recorded["files"] and not lost


def _state(artifact: Artifact) -> State:
    files = sorted(_entries(artifact.uri))
    destination = _destination(artifact)
    return {
        "files": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "pushed": sorted(_entries(destination, with_times=True)) if destination else [],
    }


def _destination(artifact: Artifact) -> str:
    # Not by its key alone: that would add it to the message.
    found = artifact.custom_properties.get(_DESTINATION)
    return found.string_value if found else ""


def _place(artifact: Artifact) -> str:
    destination = _destination(artifact)
    return destination if destination and any(_entries(artifact.uri)) else artifact.uri


def _entries(folder: str, *, with_times: bool = False) -> Iterator[Entry]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            changed = status.st_mtime_ns if with_times else 0
            yield [os.path.relpath(path, folder), status.st_size, changed]
