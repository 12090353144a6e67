"""The entrypoint of a step's pod: runs a TFX executor under the launcher of Kubeflow Pipelines.

    python -m pipeline.tfx_on_kubeflow.entrypoint --executor_class_path … \\
        --json_serialized_invocation_args '{{$}}' …

It replaces TFX's `kubeflow_v2_run_executor` and takes the same arguments, plus
`--artifact_types`, `--pipeline_root` and `--environment_digest`. TFX's version reads and writes
artifacts at their URIs, and requires the type of each. The launcher copies inputs to local folders
and outputs from there, and the backend doesn't pass types on, so they come from the compiler.

A step that fails ends its log with one line that says why, and writes it as the pod's termination
message, see `failure`.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.tfx_on_kubeflow import failure

if TYPE_CHECKING:
    from tfx.types import Artifact

ROOT_VARIABLE = "OUTNUMBERED_LAUNCHER_ROOT"
"""Environment variable: the parent of the launcher's folders; default: /."""

GIVEN_URI = "given_uri"
"""Custom property of each artifact while the step runs: its URI outside of the pod."""

_FOLDERS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}
_INTEGER = "NUMBER_INTEGER"
_TFX_VERSION = "tfx_version"
# Properties that arrive as another type: all numbers are floats, and ML Metadata has no bool.
_KINDS = {"INT": int, "BOOLEAN": bool}
# This module is `__main__` in a pod.
_PACKAGE = __name__.partition(".")[0]

Artifacts = dict[str, list["Artifact"]]
Metadata = Mapping[str, Any]


class EntrypointError(RuntimeError):
    """The launcher passed something invalid; the message says what is required."""


@dataclass(frozen=True)
class Hooks:
    """What a project adds to the entrypoint.

    Attributes:
      importing: a context in which the executor with that import path, and TFX, are imported.
      imported: called in that context before the executor is imported; what it returns is
        called before the executor runs.
      described: called with the step and its outputs when the executor has run; returns the
        metadata, as JSON, of further outputs by key: those of the compiled file that TFX does
        not know.
      failed: called when the step has failed; it may raise a KeyboardInterrupt instead.
      explained: packages whose own errors say what to do, see `failure.describe`.
    """

    importing: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext()
    imported: Callable[[], Callable[[], object]] = lambda: lambda: None
    described: "Callable[[Step, Artifacts], Mapping[str, Metadata]]" = lambda step, outputs: {}
    failed: Callable[[], object] = lambda: None
    explained: Collection[str] = ()


@dataclass(frozen=True)
class Step:
    """The execution of one step.

    Attributes:
      executor: import path of the executor's class.
      invocation: the launcher's ExecutorInput, parsed from JSON.
      parameter_types: the declared type of each parameter, such as NUMBER_INTEGER.
      artifact_types: import path of each artifact's class, by its key.
      beam_args: command-line arguments for Beam.
      pipeline_root: the run's parameter of that name; empty: it has none.
    """

    executor: str
    invocation: Mapping[str, Any]
    parameter_types: Mapping[str, str]
    artifact_types: Mapping[str, str]
    beam_args: Sequence[str]
    pipeline_root: str = ""

    @property
    def name(self) -> str:
        """The step's name in the pipeline, else its executor's path."""
        artifacts = self.invocation.get("outputs", {}).get("artifacts", {})
        uris = [found["uri"] for of in artifacts.values() for found in of["artifacts"]]
        # <pipeline root>/<name>/<salt>/<key>
        parts = uris[0].rsplit("/", 3) if uris else []
        return parts[1] if len(parts) == 4 else self.executor

    @property
    def output_file(self) -> Path:
        """The file in which the launcher looks for the metadata of the outputs."""
        return Path(self.invocation["outputs"]["outputFile"])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise EntrypointError(
            f"{message}; compile the pipeline again with the version of the image that runs it"
        )


def parse(arguments: Sequence[str]) -> Step:
    """Parses a command line.

    Raises:
      EntrypointError: an argument is missing or is not JSON.
    """
    parser = _Parser(prog="entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True, type=json.loads)
    parser.add_argument("--json_serialized_inputs_spec_args", default={}, type=json.loads)
    parser.add_argument("--artifact_types", required=True, type=json.loads)
    parser.add_argument("--pipeline_root", default="")
    # Only for the cluster's cache, whose key has the arguments and not the environment.
    parser.add_argument("--environment_digest")
    known, beam_args = parser.parse_known_args(arguments)
    declared = known.json_serialized_inputs_spec_args.get("parameters", {})
    return Step(
        executor=known.executor_class_path,
        invocation=known.json_serialized_invocation_args,
        parameter_types={name: of.get("parameterType", "") for name, of in declared.items()},
        artifact_types=known.artifact_types,
        beam_args=beam_args,
        pipeline_root=known.pipeline_root,
    )


def execute(step: Step, hooks: Hooks) -> None:
    """Runs the executor and writes the metadata that the launcher reads.

    Raises:
      EntrypointError: the launcher passed something invalid.
      Exception: any error of the executor.
    """
    _check_root(step)
    with hooks.importing(step.executor):
        prepare = hooks.imported()
        executor = _executor(step)
        inputs, outputs = _artifacts(step, "inputs"), _artifacts(step, "outputs")
    prepare()
    for artifact in _each(outputs):
        os.makedirs(artifact.uri, exist_ok=True)
    executor.Do(inputs, outputs, exec_properties(step))
    described = {key: _metadata(step, artifact) for key, (artifact,) in outputs.items()}
    _write_output(step, {**described, **hooks.described(step, outputs)})


def _check_root(step: Step) -> None:
    """Checks that the run's artifacts are stored below its parameter `pipeline_root`."""
    root = step.pipeline_root.rstrip("/")
    for uri in _uris(step, "outputs").values():
        if root and not uri.startswith(f"{root}/"):
            raise EntrypointError(
                "the run was created without its pipeline root, or with another one than its "
                "parameter pipeline_root. Give it the pipeline root too when it is created, as "
                "`outnumbered kubeflow submit` does and as the user interface can, or set "
                "defaultPipelineRoot in the ConfigMap kfp-launcher. "
                f"Required: {root!r}. Received: {uri!r}"
            )


def local_path(uri: str) -> str:
    """The local folder to which the launcher maps a URI.

    Raises:
      EntrypointError: the launcher has no local folder for the URI's scheme.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(os.environ.get(ROOT_VARIABLE, "/"), folder, uri[len(scheme) :])
    raise EntrypointError(
        f"the pipeline root must begin with one of {', '.join(_FOLDERS)}, which the launcher maps "
        f"to local folders. Received: {uri!r}"
    )


def exec_properties(step: Step) -> dict[str, Any]:
    """The parameters, with declared integers converted from JSON's numbers."""
    values = step.invocation.get("inputs", {}).get("parameterValues", {})
    return {
        name: int(value) if step.parameter_types.get(name) == _INTEGER else value
        for name, value in values.items()
    }


def _executor(step: Step) -> Any:
    executor_class = _imported(step.executor)
    # Beam and other executors have different Context classes with the same arguments.
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
    # The launcher may add outputs, such as `executor-logs`.
    return {
        key: [_artifact(step.artifact_types[key], found) for found in lists[key]["artifacts"]]
        for key in lists
        if key in step.artifact_types
    }


def _artifact(type_path: str, found: Mapping[str, Any]) -> "Artifact":
    artifact = _imported(type_path)()
    artifact.uri = local_path(found["uri"])
    # Only a backend without ML Metadata gives an artifact an id of its own.
    is_plain = "artifactId" in found
    for key, value in found.get("metadata", {}).items():
        _set_property(artifact, key, value if is_plain else _unwrapped(value))
    artifact.set_string_custom_property(GIVEN_URI, found["uri"])
    # Updates the record from which TFX's getters read.
    _ = artifact.mlmd_artifact
    return artifact


def _unwrapped(value: Any) -> Any:
    """A list or a struct, of which ML Metadata keeps `{"list": …}` and `{"struct": …}`."""
    match value:
        case {"list": list(inner), **rest} if not rest:
            return inner
        case {"struct": dict(inner), **rest} if not rest:
            return inner
    return value


def _set_property(artifact: "Artifact", key: str, value: Any) -> None:
    declared = (artifact.PROPERTIES or {}).get(key)
    if declared is None:
        # TFX's getters of all types read the JSON type.
        artifact.set_json_value_custom_property(key, value)
    else:
        kind = _KINDS.get(declared.type.name)
        setattr(artifact, key, kind(value) if kind else value)


def _each(artifacts: Artifacts) -> Iterable["Artifact"]:
    return (artifact for found in artifacts.values() for artifact in found)


def _write_output(step: Step, described: Mapping[str, Metadata]) -> None:
    lists = step.invocation["outputs"]["artifacts"]
    result: dict[str, Any] = {"artifacts": {}}
    for key, metadata in described.items():
        (given,) = lists[key]["artifacts"]
        written = {"name": given.get("name", ""), "uri": given["uri"], "metadata": metadata}
        result["artifacts"][key] = {"artifacts": [written]}
    step.output_file.parent.mkdir(parents=True, exist_ok=True)
    step.output_file.write_text(json.dumps(result), encoding="utf-8")


def _uris(step: Step, *of_sides: str) -> dict[str, str]:
    """The URI of each artifact by its path in this pod."""
    sides = (step.invocation.get(side, {}).get("artifacts", {}) for side in of_sides)
    found = (of for lists in sides for listed in lists.values() for of in listed["artifacts"])
    return {local_path(of["uri"]): of["uri"] for of in found}


def _metadata(step: Step, artifact: "Artifact") -> Metadata:
    from tfx import version

    # TFX infers the naming of the split folders from it.
    artifact.set_string_custom_property(_TFX_VERSION, version.__version__)
    record = artifact.mlmd_artifact
    properties = {**record.custom_properties, **record.properties}
    plain = {key: _plain(artifact, key, value) for key, value in properties.items()}
    # Paths in this pod are invalid elsewhere.
    uris = _uris(step, "inputs", "outputs")
    return {
        key: uris.get(value, value) if isinstance(value, str) else value
        for key, value in plain.items()
        if key != GIVEN_URI
    }


def _plain(artifact: "Artifact", key: str, value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "struct_value":
        return artifact.get_json_value_custom_property(key)
    return getattr(value, kind)


def run(arguments: Sequence[str], hooks: Hooks | None = None) -> int:
    """Runs the step and returns the exit code.

    Args:
      arguments: the command line.
      hooks: what a project adds.
    """
    hooks = hooks or Hooks()
    name, uris = "the step", {}
    try:
        step = parse(arguments)
        name = step.name
        uris = _uris(step, "inputs", "outputs")
        execute(step, hooks)
    except (Exception, SystemExit) as error:  # any error of a step ends it, and is told in words
        hooks.failed()
        traceback.print_exc()
        message = failure.describe(name, error, {*hooks.explained, _PACKAGE})
        for path, uri in uris.items():
            message = message.replace(path, uri)
        end_with(message)
        return 1
    return 0


def end_with(message: str) -> None:
    """Ends the log with a line, and makes it the pod's termination message."""
    print(message, file=sys.stderr, flush=True)
    failure.write(message)


def log_to_stderr(*names: str) -> None:
    """Logs warnings to the standard error, and all from level INFO of the named loggers."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for name in names:
        logging.getLogger(name).setLevel(logging.INFO)


def flush() -> None:
    """Writes what the log and the standard streams hold back."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()


def main() -> None:
    """Runs the step and ends the process.

    It skips the interpreter's shutdown, in which destructors and threads of TensorFlow, Beam and
    gRPC can crash or hang after the output has been written.
    """
    log_to_stderr("absl")
    code = run(sys.argv[1:])
    flush()
    os._exit(code)


if __name__ == "__main__":
    main()
