"""The ModelBlessing artifact, in TFX's own format and with the reasons."""

import json
import os
from typing import Any

from tfx.dsl.io import fileio
from tfx.types import Artifact

from components.evaluator.gate_results import Verdict

# File names and custom properties of TFX's Evaluator, which TFX's Pusher reads. They are
# repeated here because `tfx.components.evaluator` imports all of TFX's components.
BLESSED_FILE = "BLESSED"
NOT_BLESSED_FILE = "NOT_BLESSED"
_BLESSED_PROPERTY = "blessed"
_MODEL_URI_PROPERTY = "current_model"
_MODEL_ID_PROPERTY = "current_model_id"

_VERDICT_FILE = "verdict.json"


def write(verdict: Verdict, blessing: Artifact, model: Artifact) -> None:
    """Records the verdict on `model` in the artifact `blessing`."""
    blessing.set_int_custom_property(_BLESSED_PROPERTY, int(verdict.blessed))
    blessing.set_string_custom_property(_MODEL_URI_PROPERTY, model.uri)
    blessing.set_int_custom_property(_MODEL_ID_PROPERTY, model.id)
    mark = BLESSED_FILE if verdict.blessed else NOT_BLESSED_FILE
    _write_text(os.path.join(blessing.uri, mark), "")
    text = json.dumps(verdict.to_dict(), indent=2, ensure_ascii=False)
    _write_text(os.path.join(blessing.uri, _VERDICT_FILE), text)


def read_verdict(uri: str) -> dict[str, Any]:
    """Reads the verdict in a blessing: `blessed`, `reason` and `gates`."""
    with fileio.open(os.path.join(uri, _VERDICT_FILE), "r") as file:
        return json.loads(file.read())


def is_blessed(uri: str) -> bool:
    """Returns whether the model is blessed, by the files at `uri` alone.

    On a cluster, custom properties are not available in every step; files are.

    Raises:
      ValueError: the folder contains neither marker file, or both.
    """
    marks = [
        name for name in (BLESSED_FILE, NOT_BLESSED_FILE) if fileio.exists(os.path.join(uri, name))
    ]
    if len(marks) != 1:
        raise ValueError(
            f"the blessing {uri} must contain one of the files {BLESSED_FILE} and "
            f"{NOT_BLESSED_FILE}. Received: {marks}"
        )
    return marks == [BLESSED_FILE]


def _write_text(path: str, text: str) -> None:
    fileio.makedirs(os.path.dirname(path))
    with fileio.open(path, "w") as file:
        file.write(text)
