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
from typing import TYPE_CHECKING, Any

from components.whole_file import write_text

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore

_RECORD = "outputs.json"
_DESTINATION = "pushed_destination"

Artifact = Any
"""Of ml_metadata, whose module of messages has no types."""

Entry = tuple[str, int, int]
"""Relative path, size in bytes, and time of change in nanoseconds or 0."""


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
        damaged = [output for output in outputs if not _is_whole(output, known.get(output.uri))]
        for artifact in damaged:
            artifact.state = artifact.DELETED
        if damaged:
            store.put_artifacts(damaged)
        return [_place(artifact) for artifact in damaged]

    def record(self) -> None:
        """Keeps what the files of all outputs are like now."""
        known = self._read()
        write_text(
            self._path,
            json.dumps(
                {
                    artifact.uri: known.get(artifact.uri) or _state(artifact)
                    for artifact in _live(self._store())
                }
            ),
        )

    def _store(self) -> "MetadataStore":
        from ml_metadata.metadata_store import MetadataStore

        return MetadataStore(self._connection)

    def _read(self) -> Mapping[str, str]:
        try:
            return json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}


def _live(store: "MetadataStore") -> list[Artifact]:
    return [artifact for artifact in store.get_artifacts() if artifact.state == artifact.LIVE]


def _is_whole(artifact: Artifact, recorded: str | None) -> bool:
    if recorded is None:  # by an older version, or the run was killed
        return any(_entries(artifact.uri)) and _is_pushed(artifact)
    return _state(artifact) == recorded


def _is_pushed(artifact: Artifact) -> bool:
    destination = _destination(artifact)
    return not destination or any(_entries(destination))


def _state(artifact: Artifact) -> str:
    """A digest of the output's files by name and size, and of a pushed model's by time too."""
    found = [*_entries(artifact.uri)]
    if destination := _destination(artifact):
        found += _entries(destination, with_times=True)
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()


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
            yield os.path.relpath(path, folder), status.st_size, changed
