"""Wraps a compiled pipeline in an exit handler: a last step that runs however the run has ended.

The shape is that of kfp's `dsl.ExitHandler`: the steps become a DAG within the root DAG, and the
exit step waits for its end and gets its status. Pure functions on the spec.
"""

from collections.abc import Iterator, Mapping
from typing import Any

STEP = "Notifier"
"""Name of the exit step."""

# As kfp names them.
_DAG = "exit-handler-1"
_COMPONENT = f"comp-{_DAG}"
_CHANNEL = "pipelinechannel--"
_STATUS, _RUN_ID, _RUN_NAME = "status", "run_id", "run_name"
_RUN_PLACEHOLDERS = {
    _RUN_ID: "{{$.pipeline_job_uuid}}",
    _RUN_NAME: "{{$.pipeline_job_name}}",
}
NOTIFICATION = "notification"
"""Key of the exit step's output."""

Part = dict[str, Any]


def wrapped(spec: Part, container: Mapping[str, Any], task_options: Mapping[str, Any]) -> Part:
    """Returns a spec whose steps are followed by the exit step.

    The steps on which no other depends are never taken from the cache: by their outputs, the exit
    step sees that all steps have succeeded.

    Args:
      spec: of version 2.1, with one DAG.
      container: of the exit step.
      task_options: of the exit step's task, such as its retries.
    """
    tasks = {name: dict(task) for name, task in spec["root"]["dag"]["tasks"].items()}
    for name in last_steps(spec):
        tasks[name].pop("cachingOptions", None)
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    used = sorted({name for task in tasks.values() for name in _root_parameters(task)})
    label = f"{STEP}_executor"
    return {
        **spec,
        "root": {**spec["root"], "dag": {"tasks": {**_dag_task(used), **_exit_task(task_options)}}},
        "components": {
            **spec["components"],
            _COMPONENT: _dag_component({name: _inner(task) for name, task in tasks.items()})
            | _definitions({_CHANNEL + name: _type_of(declared[name]) for name in used}),
            STEP: _exit_component(label),
        },
        "deploymentSpec": {
            **spec["deploymentSpec"],
            "executors": {
                **spec["deploymentSpec"]["executors"],
                label: {"container": dict(container)},
            },
        },
    }


def last_steps(spec: Part) -> list[str]:
    """Returns the sorted names of the steps on which no other depends."""
    tasks = spec["root"]["dag"]["tasks"]
    needed = {name for task in tasks.values() for name in task.get("dependentTasks", [])}
    return sorted(tasks.keys() - needed)


def _root_parameters(task: Part) -> Iterator[str]:
    for source in task.get("inputs", {}).get("parameters", {}).values():
        if "componentInputParameter" in source:
            yield source["componentInputParameter"]


def _inner(task: Part) -> Part:
    """A step's task, which gets the root's parameters from the DAG around it."""
    inputs = task.get("inputs", {})
    if "parameters" not in inputs:
        return task
    parameters = {
        key: {"componentInputParameter": _CHANNEL + source["componentInputParameter"]}
        if "componentInputParameter" in source
        else source
        for key, source in inputs["parameters"].items()
    }
    return {**task, "inputs": {**inputs, "parameters": parameters}}


def _type_of(declared: Part) -> Part:
    return {"parameterType": declared["parameterType"]}


def _dag_component(tasks: Part) -> Part:
    return {"dag": {"tasks": tasks}}


def _definitions(parameters: Part) -> Part:
    return {"inputDefinitions": {"parameters": parameters}} if parameters else {}


def _dag_task(parameters: list[str]) -> Part:
    task: Part = {"componentRef": {"name": _COMPONENT}, "taskInfo": {"name": _DAG}}
    if parameters:
        given = {_CHANNEL + name: {"componentInputParameter": name} for name in parameters}
        task["inputs"] = {"parameters": given}
    return {_DAG: task}


def _exit_task(options: Mapping[str, Any]) -> Part:
    constants = {
        key: {"runtimeValue": {"constant": placeholder}}
        for key, placeholder in _RUN_PLACEHOLDERS.items()
    }
    return {
        STEP: {
            "componentRef": {"name": STEP},
            "taskInfo": {"name": STEP},
            "dependentTasks": [_DAG],
            "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
            "inputs": {
                "parameters": {_STATUS: {"taskFinalStatus": {"producerTask": _DAG}}, **constants}
            },
            **options,
        }
    }


def _exit_component(label: str) -> Part:
    artifact = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
    return {
        "executorLabel": label,
        "inputDefinitions": {
            "parameters": {
                _STATUS: {"isOptional": True, "parameterType": "TASK_FINAL_STATUS"},
                **{key: {"parameterType": "STRING"} for key in _RUN_PLACEHOLDERS},
            }
        },
        "outputDefinitions": {"artifacts": {NOTIFICATION: {"artifactType": artifact}}},
    }
