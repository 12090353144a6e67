"""The PushedModel artifact: TFX's custom properties, and a copy of them in `pushed.json`.

The model itself is in the registry and is not copied into the artifact.
"""

import os
from collections.abc import Mapping
from typing import Any

from tfx.dsl.io import fileio
from tfx.types import Artifact

from components.pusher.pushed_file import FILE, PushedFile
from components.registry import Pushed


def write(artifact: Artifact, pushed: Pushed | None, verdict: Mapping[str, Any]) -> None:
    """Records where the model was pushed, or that none was.

    Args:
      artifact: the output.
      pushed: the version; None if none was pushed.
      verdict: has the keys `blessed` and `reason`.
    """
    artifact.set_int_custom_property("pushed", int(pushed is not None))
    record = PushedFile(pushed=0, blessed=verdict["blessed"], reason=verdict["reason"])
    if pushed is not None:
        destination, version = pushed.path, str(pushed.version)
        artifact.set_string_custom_property("pushed_destination", destination)
        artifact.set_string_custom_property("pushed_version", version)
        place = {"pushed_destination": destination, "pushed_version": version}
        record = record.model_copy(update={"pushed": 1, "is_new": pushed.is_new, **place})
    fileio.makedirs(artifact.uri)
    with fileio.open(os.path.join(artifact.uri, FILE), "w") as file:
        file.write(record.model_dump_json(exclude_none=True))


def read_destination(uri: str) -> str | None:
    """Returns the path or URI of the pushed model; None if none was pushed."""
    with fileio.open(os.path.join(uri, FILE), "r") as file:
        return PushedFile.model_validate_json(file.read()).pushed_destination
