"""The training step of a run as Kubeflow Pipelines would start it in a pod."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults import results
from benchmarks.faults.baseline import SPLITS, Baseline
from benchmarks.faults.runner import Process, Runner
from pipeline import metadata_store
from pipeline.tfx_on_kubeflow.entrypoint import ROOT_VARIABLE

_ENTRYPOINT = "pipeline.kubeflow.entrypoint:main"
_TYPES = {
    "examples": "tfx.types.standard_artifacts.Examples",
    "model": "tfx.types.standard_artifacts.Model",
    "model_run": "tfx.types.standard_artifacts.ModelRun",
}
_EXECUTOR = "components.trainer.executor.Executor"
_WEIGHTS = "Format-Serving/variables/variables.data-00000-of-00001"


@dataclass(frozen=True)
class Pod:
    """A training step.

    Attributes:
      folder: parent of the launcher's folders.
      argv: arguments of the entrypoint.
      expected: folder of the model that the local run trained.
    """

    folder: Path
    argv: tuple[str, ...]
    expected: Path

    def start(self, runner: Runner) -> Process:
        """Starts the step in a new Python."""
        env = {ROOT_VARIABLE: str(self.folder)}
        return runner.start(self.argv, env=env, command=_ENTRYPOINT, preloaded=False)

    def is_equal(self) -> bool:
        """Returns whether the step's model has the weights of the local run's."""
        made = self.folder / "s3" / "bucket" / "model" / _WEIGHTS
        return made.read_bytes() == (self.expected / _WEIGHTS).read_bytes()


def training(undisturbed: Baseline, folder: Path) -> Pod:
    """Prepares the training step of an undisturbed run for a pod, with its examples.

    Args:
      undisturbed: its output folder has the outputs of the run.
      folder: parent of the launcher's folders.
    """
    made = results.last_outputs(undisturbed.output)
    bucket = folder / "s3" / "bucket"
    shutil.copytree(made["ImbalanceSampler/drawn_examples"], bucket / "examples")
    properties = _properties(undisturbed.output, made["Trainer/model"])
    config = json.loads(properties["custom_config"])
    config["checkpoint_root"] = str(folder / "checkpoints")
    properties["custom_config"] = json.dumps(config)
    splits = json.dumps(list(SPLITS))
    outputs = {key: _listed(key) for key in ("model", "model_run")}
    invocation = {
        "inputs": {
            "parameterValues": properties,
            "artifacts": {"examples": _listed("examples", split_names=splits)},
        },
        "outputs": {"artifacts": outputs, "outputFile": str(bucket / "output_metadata.json")},
    }
    argv = {
        "--executor_class_path": _EXECUTOR,
        "--json_serialized_invocation_args": json.dumps(invocation),
        "--artifact_types": json.dumps(_TYPES),
    }
    words = tuple(word for pair in argv.items() for word in pair)
    return Pod(folder, words, made["Trainer/model"])


def _properties(output: Path, model: Path) -> dict[str, Any]:
    """The properties of the execution that made a model."""
    store = metadata_store.connect(output)
    (execution,) = store.get_executions_by_id([int(model.name)])
    return {key: value.string_value for key, value in execution.custom_properties.items()}


def _listed(key: str, **metadata: str) -> dict[str, Any]:
    return {"artifacts": [{"name": key, "uri": f"s3://bucket/{key}", "metadata": metadata}]}
