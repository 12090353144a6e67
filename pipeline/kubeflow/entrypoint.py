"""What a step's pod runs: a TFX executor under the launcher of Kubeflow Pipelines.

    python -m pipeline.kubeflow.entrypoint --executor_class_path … \\
        --json_serialized_invocation_args '{{$}}' …

It takes the arguments of TFX's `kubeflow_v2_run_executor`, whose place it takes, and
`--artifact_types`. TFX's own reads and writes artifacts at their URIs, and wants each with its
type. The launcher brings inputs to local folders and takes outputs from there, and the backend
passes on no types: they are what the compiler wrote down.

Nothing is imported that the step does not need: a pod's start is waited for in every run.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow.lean_imports import TFMA, TFX_COMPONENTS, lean_imports

if TYPE_CHECKING:
    from tfx.types import Artifact

ROOT_VARIABLE = "OUTNUMBERED_LAUNCHER_ROOT"
"""Environment variable: the folder below which the launcher's folders are, in place of /."""

_FOLDERS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}
_INTEGER = "NUMBER_INTEGER"
_TFX_VERSION = "tfx_version"
# Packages that executors of these modules want single modules of, and no more.
_BARE = {
    "components.evaluator.": {TFX_COMPONENTS},
    "components.": {TFX_COMPONENTS, TFMA},
    "tfx.components.trainer.": {TFX_COMPONENTS, TFMA},
    "tfx.components.statistics_gen.": {TFX_COMPONENTS, TFMA},
}

Artifacts = dict[str, list["Artifact"]]


class EntrypointError(RuntimeError):
    """What the launcher passed can't be used; the message says what was wanted."""


@dataclass(frozen=True)
class Step:
    """What is to be executed.

    Attributes:
      executor: import path of the executor's class.
      invocation: the launcher's ExecutorInput, as JSON gives it.
      parameter_types: the declared type of each parameter, such as NUMBER_INTEGER.
      artifact_types: import path of the class of each artifact, by its key.
      beam_args: for Beam.
    """

    executor: str
    invocation: Mapping[str, Any]
    parameter_types: Mapping[str, str]
    artifact_types: Mapping[str, str]
    beam_args: Sequence[str]

    @property
    def output_file(self) -> Path:
        """Where the launcher looks for what the executor says of its outputs."""
        return Path(self.invocation["outputs"]["outputFile"])


def parse(arguments: Sequence[str]) -> Step:
    """The step that a command line asks for."""
    parser = argparse.ArgumentParser(prog="entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True, type=json.loads)
    parser.add_argument("--json_serialized_inputs_spec_args", default={}, type=json.loads)
    parser.add_argument("--artifact_types", required=True, type=json.loads)
    known, beam_args = parser.parse_known_args(arguments)
    declared = known.json_serialized_inputs_spec_args.get("parameters", {})
    return Step(
        executor=known.executor_class_path,
        invocation=known.json_serialized_invocation_args,
        parameter_types={name: of.get("parameterType", "") for name, of in declared.items()},
        artifact_types=known.artifact_types,
        beam_args=beam_args,
    )


def execute(step: Step) -> None:
    """Runs the executor and writes what the launcher reads.

    Raises:
      EntrypointError: what the launcher passed can't be used.
      Exception: whatever the executor raises.
    """
    with _lean(step.executor):
        from components import object_store

        executor = _executor(step)
        inputs, outputs = _artifacts(step, "inputs"), _artifacts(step, "outputs")
    # What does not go by the launcher, such as the checkpoints of an interrupted training.
    object_store.register()
    for artifact in _each(outputs):
        os.makedirs(artifact.uri, exist_ok=True)
    executor.Do(inputs, outputs, exec_properties(step))
    _write_output(step, outputs)


def local_path(uri: str) -> str:
    """Where the launcher keeps what lies at a URI.

    Raises:
      EntrypointError: it has no folder for such a URI.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(os.environ.get(ROOT_VARIABLE, "/"), folder, uri[len(scheme) :])
    raise EntrypointError(
        f"the launcher has a local folder for {', '.join(_FOLDERS)} alone; found {uri!r}; "
        "give a pipeline root that begins with one of them"
    )


def exec_properties(step: Step) -> dict[str, Any]:
    """The parameters; JSON has one kind of number, so those declared integers are made so."""
    values = step.invocation.get("inputs", {}).get("parameterValues", {})
    return {
        name: int(value) if step.parameter_types.get(name) == _INTEGER else value
        for name, value in values.items()
    }


def _lean(executor: str) -> AbstractContextManager[None]:
    """Lean imports for an executor that is known to work with them."""
    for prefix, bare in _BARE.items():
        if executor.startswith(prefix):
            return lean_imports(bare)
    return nullcontext()


def _executor(step: Step) -> Any:
    executor_class = _imported(step.executor)
    # Both kinds take a context of their own class with other names for the same.
    context = executor_class.Context(
        list(step.beam_args),
        tmp_dir=str(step.output_file.parent / ".temp"),
        unique_id=step.output_file.parent.name,
    )
    return executor_class(context)


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _artifacts(step: Step, side: str) -> Artifacts:
    lists = step.invocation.get(side, {}).get("artifacts", {})
    # The launcher may add outputs of its own, such as `executor-logs`.
    return {
        key: [_artifact(step.artifact_types[key], found) for found in lists[key]["artifacts"]]
        for key in lists
        if key in step.artifact_types
    }


def _artifact(type_path: str, found: Mapping[str, Any]) -> "Artifact":
    artifact = _imported(type_path)()
    artifact.uri = local_path(found["uri"])
    for key, value in found.get("metadata", {}).items():
        _set_property(artifact, key, value)
    # TFX's getters look in the record that this brings up to date.
    _ = artifact.mlmd_artifact
    return artifact


def _set_property(artifact: "Artifact", key: str, value: Any) -> None:
    declared = (artifact.PROPERTIES or {}).get(key)
    if declared is None:
        # Of JSON type: TFX's getters of all types read it.
        artifact.set_json_value_custom_property(key, value)
    else:
        whole = declared.type.name == "INT"
        setattr(artifact, key, int(value) if whole else value)


def _each(artifacts: Artifacts) -> Iterable["Artifact"]:
    return (artifact for found in artifacts.values() for artifact in found)


def _write_output(step: Step, outputs: Artifacts) -> None:
    from tfx import version

    lists = step.invocation["outputs"]["artifacts"]
    uris = _uris(step)
    result: dict[str, Any] = {"artifacts": {}}
    for key, (artifact,) in outputs.items():
        # Readers tell by it how the folders of splits are named.
        artifact.set_string_custom_property(_TFX_VERSION, version.__version__)
        (given,) = lists[key]["artifacts"]
        # A path in this pod means nothing outside of it.
        metadata = {
            name: uris.get(value, value) if isinstance(value, str) else value
            for name, value in _metadata(artifact).items()
        }
        written = {"name": given.get("name", ""), "uri": given["uri"], "metadata": metadata}
        result["artifacts"][key] = {"artifacts": [written]}
    step.output_file.parent.mkdir(parents=True, exist_ok=True)
    step.output_file.write_text(json.dumps(result), encoding="utf-8")


def _uris(step: Step) -> dict[str, str]:
    """The URI of each artifact by its path in this pod."""
    sides = (step.invocation.get(side, {}).get("artifacts", {}) for side in ("inputs", "outputs"))
    found = (of for lists in sides for listed in lists.values() for of in listed["artifacts"])
    return {local_path(of["uri"]): of["uri"] for of in found}


def _metadata(artifact: "Artifact") -> dict[str, Any]:
    record = artifact.mlmd_artifact
    return {
        **{key: _plain(artifact, key, value) for key, value in record.custom_properties.items()},
        **{key: _plain(artifact, key, value) for key, value in record.properties.items()},
    }


def _plain(artifact: "Artifact", key: str, value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "struct_value":
        return artifact.get_json_value_custom_property(key)
    return getattr(value, kind)


def main() -> None:
    """Runs the step and ends the process.

    By `os._exit`: what TensorFlow, Beam and gRPC do in destructors and threads as the
    interpreter winds down can crash or hang a step whose output is already written.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in ("outnumbered", "absl"):
        logging.getLogger(name).setLevel(logging.INFO)
    code = 0
    try:
        execute(parse(sys.argv[1:]))
    except Exception:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
