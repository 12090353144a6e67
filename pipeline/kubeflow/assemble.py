"""Converts a TFX pipeline to the documents that Kubeflow Pipelines and Vertex AI read.

`pipeline.tfx_on_kubeflow` makes the pipeline's spec. This module adds resources, images, retries,
which steps may be cached, and the report's figures for the run page.
"""

import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY

from components.feature_extractor import executor as feature_executor
from components.notifications.settings import RUN, Notifications
from components.pusher.component import Pusher
from components.reporter import kfp_metrics
from components.reporter.component import Reporter
from components.trainer import executor as trainer_executor
from components.trainer.backbones import is_own
from components.trainer.weights import NAMED
from pipeline.kubeflow import exit_handler, notifier, platform, runs
from pipeline.kubeflow.access import access, access_to_root
from pipeline.kubeflow.errors import CompileError
from pipeline.kubeflow.node_pools import on_gpu
from pipeline.kubeflow.settings import Kubeflow
from pipeline.tfx_on_kubeflow import compiling

ENTRYPOINT = ("python", "-m", "pipeline.kubeflow.entrypoint")
PIPELINE_ROOT_FLAG = "--pipeline_root"
ENVIRONMENT_FLAG = "--environment_digest"
_PIPELINE_ROOT = "pipeline_root"
# Parameters with the version of what a node reads from outside of the pipeline.
_VERSIONS = ("data_version", "kept_schema", "serving_version")
_LEDGER = "ledger"
_MODEL = "model"
_DIGITS = 12
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def pipeline_spec(
    dag: Pipeline, kubeflow: Kubeflow, notifications: Notifications | None = None
) -> dict[str, Any]:
    """The pipeline's spec, version 2.1.

    Args:
      dag: the pipeline.
      kubeflow: the settings.
      notifications: who is told how a run ended, in an exit step; None: nobody.

    Raises:
      CompileError: the cluster can't run one of the nodes.
    """
    spec = _job(dag, kubeflow)["pipelineSpec"]
    if notifications is not None:
        spec = _with_notifier(spec, kubeflow, notifications)
    return {**spec, "defaultPipelineRoot": kubeflow.pipeline_root}


def platform_spec(
    dag: Pipeline, kubeflow: Kubeflow, notifications: Notifications | None = None
) -> dict[str, Any]:
    """The Kubernetes settings of each step; see `pipeline_spec`."""
    configs = {
        compiling.executor_label(name := compiling.step_name(node.id)): platform.executor_config(
            node.id, name, access(node, dag, kubeflow), kubeflow
        )
        for node in compiling.steps(dag)
    }
    if notifications is not None:
        configs[compiling.executor_label(exit_handler.STEP)] = platform.executor_config(
            exit_handler.STEP,
            exit_handler.STEP,
            access_to_root(exit_handler.STEP, kubeflow),
            kubeflow,
        )
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": configs}}}}


def vertex_job(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    """The pipeline as the job that Vertex AI runs.

    Raises:
      CompileError: the service can't run one of the nodes.
    """
    return _job(dag, kubeflow)


def _job(dag: Pipeline, kubeflow: Kubeflow) -> dict[str, Any]:
    try:
        return compiling.job(
            dag,
            image=kubeflow.image,
            command=ENTRYPOINT,
            may_be_cached=_may_be_cached,
            complete=lambda spec, node: _complete(spec, node, kubeflow),
        )
    except compiling.UnsupportedError as error:
        raise CompileError(str(error)) from error


def _complete(spec: dict[str, Any], node: BaseNode, kubeflow: Kubeflow) -> None:
    if kubeflow.retries.count:
        task = spec["root"]["dag"]["tasks"][node.id]
        task["retryPolicy"] = platform.retry_policy(kubeflow.retries, kubeflow.target)
    container = compiling.container(spec, node)
    if kubeflow.target == "kubeflow":
        container["args"] += [*_given_root(spec, node), *_environment_digest(kubeflow)]
        _add_figures(spec, node)
    container["resources"] = platform.resources(node.id, kubeflow)
    if environment := platform.environment(kubeflow):
        container["env"] = environment
    if kubeflow.gpu_image and on_gpu(node.id, kubeflow.gpu):
        container["image"] = kubeflow.gpu_image


def _with_notifier(
    spec: dict[str, Any], kubeflow: Kubeflow, notifications: Notifications
) -> dict[str, Any]:
    link = notifications.link or _page_of_run(kubeflow.host)
    last_steps = exit_handler.last_steps(spec)
    name = spec["pipelineInfo"]["name"]
    container: dict[str, Any] = {
        "image": kubeflow.image,
        "command": list(notifier.ENTRYPOINT),
        "args": notifier.arguments(name, notifications, link, last_steps),
        "resources": platform.resources(exit_handler.STEP, kubeflow),
    }
    if environment := platform.environment(kubeflow):
        container["env"] = environment
    retries = kubeflow.retries
    policy = platform.retry_policy(retries, kubeflow.target) if retries.count else None
    return exit_handler.wrapped(spec, container, {"retryPolicy": policy} if policy else {})


def _page_of_run(host: str | None) -> str | None:
    """A link to a run; None if the server is this machine, as with `kubectl port-forward`."""
    is_elsewhere = host is not None and urlsplit(host).hostname not in _THIS_MACHINE
    return runs.page(host, RUN) if host and is_elsewhere else None


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


def _add_figures(spec: dict[str, Any], node: BaseNode) -> None:
    """Adds artifacts that TFX does not have to the Reporter's outputs."""
    if isinstance(node, Reporter):
        outputs = spec["components"][node.id]["outputDefinitions"]["artifacts"]
        for key, title in kfp_metrics.TYPES.items():
            outputs[key] = {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


def _may_be_cached(node: BaseNode) -> bool:
    """Whether a node's cache key covers all its inputs, and its artifacts are all that it writes.

    The key has only the paths of images, of weights and of a stable draw's ledger, whose content
    may change, and nothing of the registry, from which the model may have been deleted.
    """
    if isinstance(node, Pusher) or node.exec_properties.get(_LEDGER):
        return False
    if _weights(node) not in NAMED or is_own(_model(node)):
        return False
    versions = [
        value.default if isinstance(value, RuntimeParameter) else value
        for name in _VERSIONS
        if (value := node.exec_properties.get(name)) is not None
    ]
    return all(versions) if versions else bool(node.inputs)


def _weights(node: BaseNode) -> str:
    """The weights that a node loads, as named in the settings."""
    return _named(node).get(feature_executor.WEIGHTS, NAMED[0])


def _model(node: BaseNode) -> str:
    """The network that a node loads: a name or a path; empty if it loads none."""
    named = _named(node)
    model = named.get(feature_executor.MODEL_NAME) or named.get(_MODEL) or ""
    return str(model.default if isinstance(model, RuntimeParameter) else model)


def _named(node: BaseNode) -> dict[str, Any]:
    config = json.loads(node.exec_properties.get(CUSTOM_CONFIG_KEY) or "{}")
    return {**config.get(trainer_executor.SETTINGS, {}), **node.exec_properties}
