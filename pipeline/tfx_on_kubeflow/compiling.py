"""Compiles a TFX pipeline for Kubeflow Pipelines 2, to be run by `entrypoint`.

TFX's own compiler makes the pipeline's spec. This module refuses what the backend does not run, and
adds defaults of parameters, artifact types for the entrypoint, and names that are valid in Argo, on
which Kubeflow Pipelines runs its steps.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tfx.components import FileBasedExampleGen
from tfx.dsl.components.base.base_driver import BaseDriver
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.pipeline import Pipeline
from tfx.utils import name_utils

ENTRYPOINT = ("python", "-m", "pipeline.tfx_on_kubeflow.entrypoint")
ARTIFACT_TYPES_FLAG = "--artifact_types"
_INVALID_IN_NAME = re.compile(r"[^a-zA-Z0-9-]")

Part = dict[str, Any]


class UnsupportedError(RuntimeError):
    """The backend can't run the pipeline; the message says which part, and why."""


def compile_pipeline(
    dag: Pipeline,
    output: Path,
    *,
    image: str,
    kubernetes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Compiles a TFX pipeline to YAML.

    Nodes without input artifacts run every time: the cache does not see that data have changed
    under the same path.

    Args:
      dag: the pipeline. It has no Resolver, no FileBasedExampleGen and no node with a driver.
      output: the file to write.
      image: the image of the steps, which holds this package and the pipeline's modules.
      kubernetes: volumes, secrets, node selectors and the like by step, each a
        `KubernetesExecutorConfig` of kfp-kubernetes as JSON.

    Returns:
      `output`.

    Raises:
      UnsupportedError: the backend can't run one of the nodes, or `kubernetes` names none.
    """
    documents: list[Part] = [job(dag, image=image)["pipelineSpec"]]
    if kubernetes:
        documents.append(_platform(dag, kubernetes))
    output.write_text(yaml.safe_dump_all(documents, sort_keys=True), encoding="utf-8")
    return output


def job(
    dag: Pipeline,
    *,
    image: str,
    command: Sequence[str] = ENTRYPOINT,
    may_be_cached: Callable[[BaseNode], bool] = lambda node: bool(node.inputs),
    complete: Callable[[Part, BaseNode], object] = lambda spec, node: None,
) -> Part:
    """Returns the pipeline as a job; its `pipelineSpec` has version 2.1.

    Args:
      dag: the pipeline.
      image: the image of the steps.
      command: starts the entrypoint.
      may_be_cached: whether a node's outputs may come from the cache.
      complete: called with the spec and each node that runs in a pod, to change what belongs to
        that node; names are still the nodes' ids.

    Raises:
      UnsupportedError: the backend can't run one of the nodes.
    """
    for node in dag.components:
        _check(node)
    config = KubeflowV2DagRunnerConfig(
        default_image=image, default_commands=list(command), use_pipeline_spec_2_1=True
    )
    compiled = KubeflowV2DagRunner(config).run(dag, write_out=False)
    spec = compiled["pipelineSpec"]
    _set_defaults(spec, dag)
    for node in dag.components:
        if not may_be_cached(node):
            spec["root"]["dag"]["tasks"][node.id].pop("cachingOptions", None)
    for node in steps(dag):
        types = json.dumps(_artifact_types(node), sort_keys=True)
        container(spec, node)["args"] += [ARTIFACT_TYPES_FLAG, types]
        complete(spec, node)
    compiled["pipelineSpec"] = _renamed(spec, [node.id for node in dag.components])
    return compiled


def steps(dag: Pipeline) -> Iterable[BaseNode]:
    """The nodes that run in pods."""
    return (node for node in dag.components if not isinstance(node, Importer))


def container(spec: Part, node: BaseNode) -> Part:
    """A node's container in a spec whose names are the nodes' ids."""
    found: Part = spec["deploymentSpec"]["executors"][executor_label(node.id)]["container"]
    return found


def executor_label(name: str) -> str:
    """The key of a step's executor in the documents, by its name."""
    return f"{name}_executor"


def step_name(node_id: str) -> str:
    """The name of a node's step on the cluster: letters, digits and -, as Argo requires."""
    return _INVALID_IN_NAME.sub("-", node_id)


def _platform(dag: Pipeline, kubernetes: Mapping[str, Mapping[str, Any]]) -> Part:
    known = {step_name(node.id) for node in steps(dag)}
    if unknown := kubernetes.keys() - known:
        raise UnsupportedError(
            f"kubernetes must have names of steps: {sorted(known)}. Received: {sorted(unknown)}"
        )
    executors = {executor_label(name): dict(config) for name, config in kubernetes.items()}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _check(node: BaseNode) -> None:
    if isinstance(node, Resolver):
        raise UnsupportedError(
            f"{node.id} is a Resolver, which the backend of Kubeflow Pipelines does not run; find "
            "the artifact in a component instead"
        )
    if isinstance(node, FileBasedExampleGen):
        raise UnsupportedError(
            f"{node.id} finds its input in a driver, which the backend of Kubeflow Pipelines "
            "does not run; use an ExampleGen without one, such as "
            "pipeline.tfx_on_kubeflow.example_gen.ExampleGen"
        )
    if node.driver_class is not BaseDriver and not isinstance(node, Importer):
        raise UnsupportedError(
            f"{node.id} has a custom driver, which the backend of Kubeflow Pipelines does not "
            f"run; do its work in the executor. Received: {node.driver_class.__name__}"
        )


def _runtime_parameters(dag: Pipeline) -> Iterable[RuntimeParameter]:
    values = (value for node in dag.components for value in node.exec_properties.values())
    return (value for value in values if isinstance(value, RuntimeParameter))


def _set_defaults(spec: dict[str, Any], dag: Pipeline) -> None:
    for parameter in _runtime_parameters(dag):
        if parameter.default is not None:
            declared = spec["root"]["inputDefinitions"]["parameters"][parameter.name]
            declared["defaultValue"] = parameter.default
            declared["isOptional"] = True


def _artifact_types(node: BaseNode) -> dict[str, str]:
    """The class path of each artifact by its key; keys are unique over inputs and outputs."""
    channels = {**node.inputs, **node.outputs}
    return {key: name_utils.get_full_name(channel.type) for key, channel in channels.items()}


def _renamed(spec: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """The spec with names that are valid in Argo: letters, digits and -."""
    names = {node_id: step_name(node_id) for node_id in ids}
    if len(set(names.values())) < len(names):
        raise UnsupportedError(
            "component ids must differ in letters, digits or -, the only characters allowed in "
            f"Argo; rename one. Received: {sorted(ids)}"
        )
    tasks = spec["root"]["dag"]["tasks"]
    executors = spec["deploymentSpec"]["executors"]
    for task in tasks.values():
        task["taskInfo"]["name"] = names[task["taskInfo"]["name"]]
        task["componentRef"]["name"] = names[task["componentRef"]["name"]]
        if "dependentTasks" in task:
            task["dependentTasks"] = [names[task_id] for task_id in task["dependentTasks"]]
        for artifact in task.get("inputs", {}).get("artifacts", {}).values():
            producer = artifact["taskOutputArtifact"]
            producer["producerTask"] = names[producer["producerTask"]]
    for component_id, component in spec["components"].items():
        component["executorLabel"] = executor_label(names[component_id])
    spec["components"] = {names[key]: value for key, value in spec["components"].items()}
    spec["root"]["dag"]["tasks"] = {names[key]: value for key, value in tasks.items()}
    spec["deploymentSpec"]["executors"] = {
        executor_label(names[node_id]): executors[executor_label(node_id)] for node_id in ids
    }
    return spec
