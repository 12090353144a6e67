"""The PushedModel artifact: TFX's custom properties, and the same in `pushed.json`.

The file is there for steps that see files alone. The model itself lies in the registry
and is not copied a second time into the artifact.
"""

import json
import os

from tfx.dsl.io import fileio
from tfx.types import Artifact

from components.pusher.registry import Pushed

_FILE = "pushed.json"


def write(artifact: Artifact, pushed: Pushed | None) -> None:
    """Records where the model lies, or that none was pushed."""
    record: dict[str, int | str] = {"pushed": 0}
    artifact.set_int_custom_property("pushed", int(pushed is not None))
    if pushed is not None:
        destination, version = str(pushed.path), str(pushed.version)
        artifact.set_string_custom_property("pushed_destination", destination)
        artifact.set_string_custom_property("pushed_version", version)
        record = {"pushed": 1, "pushed_destination": destination, "pushed_version": version}
    fileio.makedirs(artifact.uri)
    with fileio.open(os.path.join(artifact.uri, _FILE), "w") as file:
        file.write(json.dumps(record, ensure_ascii=False))


def read_destination(uri: str) -> str | None:
    """Where the model of a PushedModel artifact lies; None where none was pushed."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read()).get("pushed_destination")
