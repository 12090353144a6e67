"""The nodes on which each step of a pipeline runs."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.spelling import folded
from pipeline.kubeflow.errors import CompileError
from pipeline.kubeflow.exit_handler import STEP as EXIT_STEP
from pipeline.kubeflow.settings import Gpu, Kubeflow, Resources, Toleration

# The exit step reads some logs, and must find a place at once.
_OF_STEP = {EXIT_STEP: Resources(cpu="500m", memory="512Mi")}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the pod of a step runs, and what it gets of its node.

    Attributes:
      resources: CPU, memory and disk.
      node_selector: labels of the nodes.
      tolerations: taints of the nodes that it tolerates.
      labels: of the pod, in addition to those of all pods.
      gpu: its devices; None for a CPU step.
    """

    resources: Resources
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Toleration] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    gpu: Gpu | None = None


def on_gpu(node_id: str, gpu: Gpu) -> bool:
    """Returns whether a step runs on a GPU node: it is a GPU step, or an arm of one.

    Args:
      node_id: such as `Trainer`, or `Trainer.balanced`.
      gpu: the settings.
    """
    return gpu.count > 0 and _component(node_id) in gpu.steps


def placement(node_id: str, kubeflow: Kubeflow) -> Placement:
    """Returns where a step runs.

    Args:
      node_id: see `on_gpu`.
      kubeflow: the settings.

    Returns:
      That of GPU steps, or else of the pool that lists the step, or else of its component, or
      else any node.
    """
    gpu = kubeflow.gpu
    if on_gpu(node_id, gpu):
        return Placement(
            resources=gpu.resources,
            node_selector=gpu.node_selector,
            tolerations=gpu.tolerations,
            labels=gpu.labels,
            gpu=gpu,
        )
    pools = {step: pool for pool in kubeflow.node_pools.values() for step in pool.steps}
    pool = pools.get(node_id) or pools.get(_component(node_id))
    of_step = _OF_STEP.get(node_id, kubeflow.resources)
    if pool is None:
        return Placement(resources=of_step)
    return Placement(
        resources=pool.resources or of_step,
        node_selector=pool.node_selector,
        tolerations=pool.tolerations,
        labels=pool.labels,
    )


def check_steps(kubeflow: Kubeflow, node_ids: Iterable[str]) -> None:
    """Checks that each step in a pool is one of the pipeline.

    Args:
      kubeflow: the settings.
      node_ids: of the pipeline's steps.

    Raises:
      CompileError: a pool lists another step.
    """
    steps = list(node_ids)
    known = dict.fromkeys([*steps, *map(_component, steps)])
    for name, pool in kubeflow.node_pools.items():
        for step in pool.steps:
            if step not in known:
                raise CompileError(
                    f"kubeflow.node_pools.{name}.steps must list steps of this pipeline: "
                    f"{', '.join(sorted(known))}. Received: {step!r}{_nearest(step, known)}"
                )


def _component(node_id: str) -> str:
    return node_id.partition(".")[0]


def _nearest(step: str, known: Iterable[str]) -> str:
    spellings = {folded(name): name for name in known}
    near = difflib.get_close_matches(folded(step), spellings, n=1)
    return f" (did you mean {spellings[near[0]]!r}?)" if near else ""
