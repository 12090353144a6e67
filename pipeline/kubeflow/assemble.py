"""Converts a TFX pipeline to the documents that Kubeflow Pipelines and Vertex AI read.

TFX's own compiler makes the pipeline's spec. This module adds what it leaves out: defaults of
parameters, artifact types for the entrypoint, resources, images, retries, and names that are
valid in Argo, on which Kubeflow Pipelines runs its steps.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

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
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY
from tfx.utils import name_utils

from components.feature_extractor import executor as feature_executor
from components.pusher.component import Pusher
from components.trainer import executor as trainer_executor
from components.trainer.weights import NAMED
from pipeline.kubeflow import platform
from pipeline.kubeflow.access import access
from pipeline.kubeflow.errors import CompileError
from pipeline.kubeflow.settings import Kubeflow

ENTRYPOINT = ("python", "-m", "pipeline.kubeflow.entrypoint")
ARTIFACT_TYPES_FLAG = "--artifact_types"
PIPELINE_ROOT_FLAG = "--pipeline_root"
ENVIRONMENT_FLAG = "--environment_digest"
_PIPELINE_ROOT = "pipeline_root"
# Parameters with the version of what a node reads from outside of the pipeline.
_VERSIONS = ("data_version", "kept_schema", "serving_version")
_LEDGER = "ledger"
_DIGITS = 12
_INVALID_IN_NAME = re.compile(r"[^a-zA-Z0-9-]")


def pipeline_spec(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    """The pipeline's spec, version 2.1.

    Raises:
      CompileError: the cluster can't run one of the nodes.
    """
    spec = _job(dag, kubeflow)["pipelineSpec"]
    return {**spec, "defaultPipelineRoot": kubeflow.pipeline_root}


def platform_spec(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    """The Kubernetes settings of each step."""
    configs = {
        _label(name := _name(node.id)): platform.executor_config(
            node.id, name, access(node, dag, kubeflow), kubeflow
        )
        for node in _steps(dag)
    }
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": configs}}}}


def vertex_job(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    """The pipeline as the job that Vertex AI runs.

    Raises:
      CompileError: the service can't run one of the nodes.
    """
    return _job(dag, kubeflow)


def _job(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    for node in dag.components:
        _check(node)
    config = KubeflowV2DagRunnerConfig(
        default_image=kubeflow.image,
        default_commands=list(ENTRYPOINT),
        use_pipeline_spec_2_1=True,
    )
    job = KubeflowV2DagRunner(config).run(dag, write_out=False)
    spec = job["pipelineSpec"]
    _set_defaults(spec, dag)
    for node in dag.components:
        _complete(spec, node, kubeflow)
    job["pipelineSpec"] = _renamed(spec, [node.id for node in dag.components])
    return job


def _check(node: BaseNode) -> None:
    if isinstance(node, Resolver):
        raise CompileError(
            f"{node.id} is a Resolver, which the backend of Kubeflow Pipelines does not run; find "
            "the artifact in a component instead"
        )
    if isinstance(node, FileBasedExampleGen):
        raise CompileError(
            f"{node.id} finds its input in a driver, which the backend of Kubeflow Pipelines "
            "does not run, so changes of the data under the same path would go unnoticed; use "
            "ImageExampleGen, whose span and data version are parameters"
        )
    if node.driver_class is not BaseDriver and not isinstance(node, Importer):
        raise CompileError(
            f"{node.id} has a custom driver, which the backend of Kubeflow Pipelines does not "
            f"run; do its work in the executor. Received: {node.driver_class.__name__}"
        )


def _steps(dag: Pipeline) -> Iterable[BaseNode]:
    return (node for node in dag.components if not isinstance(node, Importer))


def _runtime_parameters(dag: Pipeline) -> Iterable[RuntimeParameter]:
    values = (value for node in dag.components for value in node.exec_properties.values())
    return (value for value in values if isinstance(value, RuntimeParameter))


def _set_defaults(spec: dict[str, Any], dag: Pipeline) -> None:
    for parameter in _runtime_parameters(dag):
        if parameter.default is not None:
            declared = spec["root"]["inputDefinitions"]["parameters"][parameter.name]
            declared["defaultValue"] = parameter.default
            declared["isOptional"] = True


def _complete(spec: dict[str, Any], node: BaseNode, kubeflow: Kubeflow) -> None:
    task = spec["root"]["dag"]["tasks"][node.id]
    if not _may_be_cached(node):
        task.pop("cachingOptions", None)
    if isinstance(node, Importer):
        return
    if kubeflow.retries.count:
        task["retryPolicy"] = platform.retry_policy(kubeflow.retries, kubeflow.target)
    container = spec["deploymentSpec"]["executors"][_label(node.id)]["container"]
    container["args"] += [ARTIFACT_TYPES_FLAG, json.dumps(_artifact_types(node), sort_keys=True)]
    if kubeflow.target == "kubeflow":
        container["args"] += [*_given_root(spec, node), *_environment_digest(kubeflow)]
    container["resources"] = platform.resources(node.id, kubeflow)
    if environment := platform.environment(kubeflow):
        container["env"] = environment
    if kubeflow.gpu_image and platform.on_gpu(node.id, kubeflow.gpu):
        container["image"] = kubeflow.gpu_image


def _given_root(spec: dict[str, Any], node: BaseNode) -> list[str]:
    """Arguments with which a step checks the run's pipeline root; changes steps without inputs.

    The root comes from the run request or the cluster, and the parameter `pipeline_root`, of which
    checkpoints, ledgers and spans are kept, from the run's parameters. The first steps get that
    parameter, so that they fail if the two differ.
    """
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    given = {"componentInputParameter": _PIPELINE_ROOT}
    task, component = spec["root"]["dag"]["tasks"][node.id], spec["components"][node.id]
    if _PIPELINE_ROOT in declared and not node.inputs:
        inputs = task.setdefault("inputs", {}).setdefault("parameters", {})
        definitions = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
        inputs[_PIPELINE_ROOT] = given
        definitions[_PIPELINE_ROOT] = {"parameterType": "STRING"}
    if task.get("inputs", {}).get("parameters", {}).get(_PIPELINE_ROOT) != given:
        return []
    return [PIPELINE_ROOT_FLAG, f"{{{{$.inputs.parameters['{_PIPELINE_ROOT}']}}}}"]


def _environment_digest(kubeflow: Kubeflow) -> list[str]:
    """Arguments by which another environment is another key in the cluster's cache.

    The key has a step's arguments, but in release 2.16 not its variables, of which one such as
    AWS_ENDPOINT_URL decides what the step reads.
    """
    if not kubeflow.env:
        return []
    text = json.dumps(kubeflow.env, sort_keys=True)
    return [ENVIRONMENT_FLAG, hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]]


def _may_be_cached(node: BaseNode) -> bool:
    """Whether a node's cache key covers all its inputs, and its artifacts are all that it writes.

    The key has only the paths of images, of weights and of a stable draw's ledger, whose content
    may change, and nothing of the registry, from which the model may have been deleted.
    """
    if isinstance(node, Pusher) or node.exec_properties.get(_LEDGER):
        return False
    if _weights(node) not in NAMED:
        return False
    versions = [
        value.default if isinstance(value, RuntimeParameter) else value
        for name in _VERSIONS
        if (value := node.exec_properties.get(name)) is not None
    ]
    return all(versions) if versions else bool(node.inputs)


def _weights(node: BaseNode) -> str:
    """The weights that a node loads, as named in the settings."""
    config = json.loads(node.exec_properties.get(CUSTOM_CONFIG_KEY) or "{}")
    named = {**config.get(trainer_executor.SETTINGS, {}), **node.exec_properties}
    return named.get(feature_executor.WEIGHTS, NAMED[0])


def _artifact_types(node: BaseNode) -> dict[str, str]:
    """The class path of each artifact by its key; keys are unique over inputs and outputs."""
    channels = {**node.inputs, **node.outputs}
    return {key: name_utils.get_full_name(channel.type) for key, channel in channels.items()}


def _label(name: str) -> str:
    return f"{name}_executor"


def _name(node_id: str) -> str:
    return _INVALID_IN_NAME.sub("-", node_id)


def _renamed(spec: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """The spec with names that are valid in Argo: letters, digits and -."""
    names = {node_id: _name(node_id) for node_id in ids}
    if len(set(names.values())) < len(names):
        raise CompileError(
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
        component["executorLabel"] = _label(names[component_id])
    spec["components"] = {names[key]: value for key, value in spec["components"].items()}
    spec["root"]["dag"]["tasks"] = {names[key]: value for key, value in tasks.items()}
    spec["deploymentSpec"]["executors"] = {
        _label(names[node_id]): executors[_label(node_id)] for node_id in ids
    }
    return spec
