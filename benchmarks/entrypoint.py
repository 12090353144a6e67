"""Start-up time of a step's pod: the project's entrypoint compared with TFX's.

    python -m benchmarks.entrypoint

Both start alternately in separate processes with the same arguments, once per repeat. The time is
from the start of the process to the call of the executor's `Do`, which ends the process; the
imports of `Do` are the same for both and are not counted. Modules are compiled beforehand, as in
an image. Artifacts of the project's types are left out, since TFX's entrypoint can't read them.

The last line is JSON: `ratio`, TFX's seconds divided by the project's, the minimum over steps
without TFMA; and `steps`, with the minimum wall `seconds` of both and their `ratio` for each step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = "pipeline.kubeflow.entrypoint"
TFX = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
NEEDS_TFMA = "Evaluator"
EXECUTORS = {
    "ChampionFinder": "components.champion_finder.executor.Executor",
    "ImageExampleGen": "components.image_example_gen.executor.Executor",
    "StatisticsGen": "components.statistics_gen.executor.Executor",
    "SchemaGen": "components.schema_gen.executor.Executor",
    "ExampleValidator": "components.example_validator.executor.Executor",
    "ImbalanceSampler": "components.imbalance_sampler.executor.Executor",
    "FeatureExtractor": "components.feature_extractor.executor.Executor",
    "Trainer": "components.trainer.executor.Executor",
    "Calibrator": "components.calibrator.executor.Executor",
    NEEDS_TFMA: "components.evaluator.executor.Executor",
    "Pusher": "components.pusher.executor.Executor",
    "Reporter": "components.reporter.executor.Executor",
    "StudyReporter": "components.study_reporter.executor.Executor",
}
_SCHEMA = "title: tfx.Examples\ntype: object\n"
_REACHED = 42


class EndAtDo:
    """Imports one module as usual, but makes its executor end the process."""

    def __init__(self, executor: str):
        self._module, _, self._name = executor.rpartition(".")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of the module, which runs the module and then replaces `Do`."""
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            getattr(module, self._name).Do = lambda *_: os._exit(_REACHED)

        spec.loader.exec_module = exec_module
        return spec


def start(entrypoint: str, executor: str, folder: Path) -> float:
    """Returns the wall seconds from the start of a process to its executor's `Do`."""
    examples = {"uri": str(folder / "examples"), "type": {"instanceSchema": _SCHEMA}}
    if entrypoint == OURS:
        examples["uri"] = "s3://bucket/examples"
    invocation = {
        "inputs": {"parameterValues": {}},
        "outputs": {
            "artifacts": {"examples": {"artifacts": [examples]}},
            "outputFile": str(folder / "step" / "output_metadata.json"),
        },
    }
    code = (
        "import runpy, sys; from benchmarks.entrypoint import EndAtDo; "
        f"sys.meta_path.insert(0, EndAtDo({executor!r})); "
        f"runpy.run_module({entrypoint!r}, run_name='__main__', alter_sys=True)"
    )
    types = {"examples": "tfx.types.standard_artifacts.Examples"}
    command = [
        *(sys.executable, "-c", code),
        *("--executor_class_path", executor),
        *("--json_serialized_invocation_args", json.dumps(invocation)),
        *("--json_serialized_inputs_spec_args", "{}"),
        *(("--artifact_types", json.dumps(types)) if entrypoint == OURS else ()),
        *("--runner=FnApiRunner", "--sdk_container_image=none"),
    ]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment["OUTNUMBERED_LAUNCHER_ROOT"] = str(folder)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    seconds = time.perf_counter() - begin
    if done.returncode != _REACHED:
        raise RuntimeError(f"{entrypoint} did not reach {executor}:\n{done.stderr[-4000:]}")
    return seconds


def measure(folder: Path, repeats: int, steps: Sequence[str]) -> dict[str, Any]:
    """Measures all steps; returns the figures of the last line."""
    figures = {}
    for step in steps:
        for entrypoint in (OURS, TFX):  # compiles modules that are not compiled yet
            start(entrypoint, EXECUTORS[step], folder)
        seconds: dict[str, list[float]] = {OURS: [], TFX: []}
        for _ in range(repeats):
            for entrypoint, found in seconds.items():
                found.append(start(entrypoint, EXECUTORS[step], folder))
        ours, tfx = min(seconds[OURS]), min(seconds[TFX])
        figures[step] = {
            "seconds": round(ours, 2),
            "tfx_seconds": round(tfx, 2),
            "ratio": round(tfx / ours, 2),
        }
        print(f"{step}: {figures[step]}", flush=True)
    least = min(found["ratio"] for step, found in figures.items() if step != NEEDS_TFMA)
    return {"ratio": least, "steps": figures}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3, help="starts per entrypoint and step")
    parser.add_argument("--steps", nargs="+", default=list(EXECUTORS), choices=list(EXECUTORS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.repeats, arguments.steps)))


if __name__ == "__main__":
    main()
