"""TFX's generic Trainer executor, with run parameters that override the settings."""

import os
from collections.abc import Mapping
from typing import Any

from tfx.components.trainer.executor import GenericExecutor
from tfx.types import Artifact, artifact_utils
from tfx.utils import json_utils

from components import names
from components.checked_artifacts import checked
from components.trainer.backbones import check_model, is_own

# Execution properties that TFX's Trainer does not have.
EPOCHS = "epochs"
MODEL_NAME = "model_name"
"""Not `model`, which is the name of an output."""
PIPELINE_ROOT = "pipeline_root"

# Keys of `custom_config`, which `run_fn` reads.
SETTINGS = "trainer"
READING = "reading"
CHECKPOINT_ROOT = "checkpoint_root"
WEIGHTS_VERSION = "weights_version"
CHAMPION = "champion"
SAMPLING = "sampling"

_CUSTOM_CONFIG = "custom_config"
_CHECKPOINTS = "checkpoints"


class Executor(GenericExecutor):
    """Executes the Trainer."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains, see `components.trainer.run`.

        Args:
          input_dict: `examples`, `champion` for a warm start, and `sampling` for several draws of
            the splits.
          output_dict: `model` and `model_run`.
          exec_properties: TFX's, and optionally those of this module.

        Raises:
          ValueError: a run parameter is not allowed.
        """
        config = json_utils.loads(exec_properties[_CUSTOM_CONFIG])
        config = with_parameters(config, exec_properties)
        if champion := input_dict.get(names.CHAMPION):
            config[CHAMPION] = artifact_utils.get_single_uri(champion)
        if sampling := input_dict.get(names.SAMPLING):
            config[SAMPLING] = artifact_utils.get_single_uri(sampling)
        changed = {_CUSTOM_CONFIG: json_utils.dumps(config)}
        super().Do(input_dict, output_dict, {**exec_properties, **changed})


def with_parameters(
    config: Mapping[str, Any], exec_properties: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns `custom_config` with its values overridden by the run parameters that are set.

    Raises:
      ValueError: a run parameter is not allowed.
    """
    settings = dict(config[SETTINGS])
    if (epochs := exec_properties.get(EPOCHS)) is not None:
        if epochs < 1:
            raise ValueError(f"the parameter 'epochs' must be at least 1. Received: {epochs}")
        settings["epochs"] = epochs
    if model := exec_properties.get(MODEL_NAME):
        _check_parameter(model, settings["model"])
        settings["model"] = model
    changed = {**config, SETTINGS: settings}
    if root := exec_properties.get(PIPELINE_ROOT):
        changed[CHECKPOINT_ROOT] = os.path.join(root, _CHECKPOINTS)
    return changed


def _check_parameter(model: str, in_settings: str) -> None:
    """Refuses a model that does not exist, and a file, of whose content the cache knows nothing."""
    try:
        check_model(model)
    except ValueError as error:
        raise ValueError(f"the parameter 'model' {error}") from error
    if is_own(model) and model != in_settings:
        raise ValueError(
            "the parameter 'model' must be a name; set trainer.model to use a network of your own. "
            f"Received: {model!r}"
        )
