"""The Pusher's executor."""

import json
import logging
import os
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components import names
from components.checked_artifacts import checked
from components.evaluator import blessing
from components.messages import InputError
from components.pusher import pushed_model, version_record
from components.registry import RegistryError, open_registry
from components.schema_gen import baseline
from components.tracking.settings import Tracking
from components.tracking.track import track, warning

REGISTRY = "registry"
KEPT_SCHEMA = "kept_schema"
SETTINGS = "settings"

_STEP = "Pusher"

_logger = logging.getLogger("outnumbered.pusher")


class Executor(BaseExecutor):
    """Pushes the model if it is blessed."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes a blessed model; for other models records that none was pushed.

        The schema of the run is kept with the first blessed model; an existing one is not
        changed.

        Args:
          input_dict: `model`, `blessing`, `schema` and `statistics`, one artifact each; for the
            version's record also `evaluation` and `sampling`.
          output_dict: `pushed_model`, one artifact.
          exec_properties: `registry`, a folder or a URI; `settings`, JSON, for the record.

        Raises:
          PushError: the registry can't be written.
          RegistryError: the key with which the version is to be signed can't be read.
          ValueError: the blessing has neither marker file, or both.
        """
        model = artifact_utils.get_single_uri(input_dict[names.MODEL])
        record = artifact_utils.get_single_instance(output_dict[names.PUSHED_MODEL])
        judged = artifact_utils.get_single_uri(input_dict[names.BLESSING])
        is_blessed, verdict = blessing.is_blessed(judged), blessing.read_verdict(judged)
        if not is_blessed:
            _logger.info("not pushed: the model is not blessed")
            pushed_model.write(record, None, verdict)
            return
        inputs = {
            key: artifact_utils.get_single_instance(found) for key, found in input_dict.items()
        }
        settings = json.loads(exec_properties.get(SETTINGS) or "{}")
        pushed = open_registry(exec_properties[REGISTRY]).push(
            path_utils.serving_model_dir(model),
            version_record.read(inputs, settings, self._run(record.uri)),
        )
        _keep_schema(input_dict, exec_properties[REGISTRY], pushed.version)
        pushed_model.write(record, pushed, verdict)
        state = "pushed as" if pushed.is_new else "already pushed as"
        _logger.info("%s version %d: %s", state, pushed.version, pushed.path)
        _track(settings, exec_properties[REGISTRY], pushed.version)

    def _run(self, output: str) -> str | None:
        """Returns the id of the run; None if it is unknown.

        Args:
          output: URI of an output. On a cluster, where TFX doesn't know the run, it is
            ROOT/PIPELINE/RUN/STEP/...
        """
        if self._context and self._context.pipeline_run_id:
            return self._context.pipeline_run_id
        before, step, _ = output.rpartition(f"/{_STEP}/")
        return os.path.basename(before) if step else None


def _track(settings: dict[str, Any], folder: str, version: int) -> None:
    """Registers the version with the servers of the settings; a failure is a warning."""
    tracking = Tracking.model_validate(settings.get("tracking") or {})
    if tracking.is_off():
        return
    done = f"version {version} is pushed"
    try:
        outcomes = track(open_registry(folder), tracking, settings.get("name", ""), [version])
    except (InputError, RegistryError) as error:
        _logger.warning("%s, but it is not tracked: %s", done, error)
        return
    for outcome in outcomes:
        if outcome.problem is None:
            _logger.info("registered version %d with %s", version, outcome.server)
        else:
            _logger.warning("%s", warning(outcome, done))


def _keep_schema(input_dict: dict[str, list[Artifact]], folder: str, version: int) -> None:
    schema = artifact_utils.get_single_uri(input_dict[names.SCHEMA])
    statistics = artifact_utils.get_single_uri(input_dict[names.STATISTICS])
    # A kept schema that was deleted during the run is not written again.
    if baseline.was_kept(schema):
        return
    if baseline.keep(folder, schema, statistics, version):
        _logger.info("kept the schema of version %d in %s", version, folder)
    elif not baseline.is_kept(folder):
        _logger.warning(
            "the schema of version %d was not kept: there is an incomplete one in %s/schema, which "
            "another push is writing, or has left. If there is none running, delete it; else it is "
            "replaced by the first push a day later",
            version,
            folder,
        )
