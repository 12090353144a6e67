"""The PushedModel artifact: TFX's custom properties, and a copy of them in `pushed.json`.

The file is for steps that can read files only. The model itself is in the registry and is
not copied into the artifact.
"""

import json
import os

from tfx.dsl.io import fileio
from tfx.types import Artifact

from components.registry import Pushed

_FILE = "pushed.json"


def write(artifact: Artifact, pushed: Pushed | None) -> None:
    """Records where the model was pushed, or that none was."""
    record: dict[str, int | str] = {"pushed": 0}
    artifact.set_int_custom_property("pushed", int(pushed is not None))
    if pushed is not None:
        destination, version = pushed.path, str(pushed.version)
        artifact.set_string_custom_property("pushed_destination", destination)
        artifact.set_string_custom_property("pushed_version", version)
        record = {"pushed": 1, "pushed_destination": destination, "pushed_version": version}
    fileio.makedirs(artifact.uri)
    with fileio.open(os.path.join(artifact.uri, _FILE), "w") as file:
        file.write(json.dumps(record, ensure_ascii=False))


def read_destination(uri: str) -> str | None:
    """Returns the path or URI of the pushed model; None if none was pushed."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read()).get("pushed_destination")
