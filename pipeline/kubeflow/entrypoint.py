"""The entrypoint of a step's pod: runs an executor under the launcher of Kubeflow Pipelines.

    python -m pipeline.kubeflow.entrypoint --executor_class_path … \\
        --json_serialized_invocation_args '{{$}}' …

It is `pipeline.tfx_on_kubeflow.entrypoint` with lean imports, since every run waits for its pods
to start, with signals that end a step cleanly, with access to object stores, and with the report's
figures for the run page.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from components import names, stop_signals
from pipeline.kubeflow.lean_imports import TFMA, TFX_COMPONENTS, lean_imports
from pipeline.tfx_on_kubeflow import entrypoint

# Packages of which executors in these modules need only single modules.
_BARE = {
    "components.evaluator.": {TFX_COMPONENTS},
    "components.": {TFX_COMPONENTS, TFMA},
    "tfx.components.trainer.": {TFX_COMPONENTS, TFMA},
}


def main() -> None:
    """Runs the step and ends the process, as `tfx_on_kubeflow.entrypoint.main` does."""
    stop_signals.install(_tell_interruption)
    entrypoint.log_to_stderr("outnumbered", "absl")
    code = _run(sys.argv[1:])
    entrypoint.flush()
    stop_signals.end(code)


def _run(arguments: Sequence[str]) -> int:
    """Runs the step and returns the exit code."""
    hooks = entrypoint.Hooks(
        importing=_lean,
        imported=_object_stores,
        described=figures_of_the_report,
        failed=stop_signals.raise_received,  # a signal may have caused the error
        explained=("components", "pipeline"),
    )
    try:
        return entrypoint.run(arguments, hooks)
    except KeyboardInterrupt as error:
        _tell_interruption(error)
        return stop_signals.exit_code(error)


def _lean(executor: str) -> AbstractContextManager[None]:
    """Lean imports if the executor is known to work with them."""
    for prefix, bare in _BARE.items():
        if executor.startswith(prefix):
            return lean_imports(bare)
    return nullcontext()


def _object_stores() -> Callable[[], object]:
    """Access to files that the launcher doesn't copy, such as checkpoints of a training."""
    from components import object_store

    return object_store.register


def figures_of_the_report(
    step: entrypoint.Step, outputs: entrypoint.Artifacts
) -> Mapping[str, entrypoint.Metadata]:
    """Returns the metadata of the artifacts that `assemble` adds to the Reporter's outputs.

    Args:
      step: any step.
      outputs: its outputs that TFX knows.

    Returns:
      By key, see `components.reporter.kfp_metrics`; empty if the compiled file has none, as for
      the other steps and on Vertex AI.
    """
    if names.REPORT not in outputs:
        return {}
    from components.reporter import kfp_metrics

    if not kfp_metrics.TYPES.keys() <= step.invocation["outputs"]["artifacts"].keys():
        return {}
    (report,) = outputs[names.REPORT]
    return kfp_metrics.read(report.uri)


def _tell_interruption(error: KeyboardInterrupt) -> None:
    entrypoint.end_with(
        f"interrupted: {error}; if this step is retried, a training resumes after its last epoch"
    )


if __name__ == "__main__":
    main()
