"""The launcher harness itself, on a pipeline of two shell commands."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from launcher import Cluster, StepFailedError
from store_on_localhost import ARTIFACTS, ObjectStore

WRITE = "echo {{$.inputs.parameters['text']}} > {{$.outputs.artifacts['written'].path}}"
COPY = "cat {{$.inputs.artifacts['read'].path}} > {{$.outputs.artifacts['copied'].path}}"


def step(
    name: str,
    command: str,
    output: str,
    *,
    inputs: Any,
    cached: bool,
    retries: int = 0,
    longest: str = "3600s",
):
    """A task, its component and its executor."""
    artifact = {"artifactType": {"schemaTitle": "system.Artifact"}}
    declared = {"artifacts": {"read": artifact}} if "artifacts" in inputs else {}
    if "parameters" in inputs:
        declared["parameters"] = {"text": {"parameterType": "STRING"}}
    task = {
        "taskInfo": {"name": name},
        "componentRef": {"name": name},
        "inputs": inputs,
        "cachingOptions": {"enableCache": cached},
        "retryPolicy": {
            "maxRetryCount": retries,
            "backoffDuration": "10s",
            "backoffFactor": 3.0,
            "backoffMaxDuration": longest,
        },
    }
    component = {
        "executorLabel": name,
        "inputDefinitions": declared,
        "outputDefinitions": {"artifacts": {output: artifact}},
    }
    container = {"image": "image:1", "command": ["sh", "-ec"], "args": [command]}
    return task, component, {"container": container}


def write_package(
    folder: Path, *, copy: str = COPY, fresh: bool = False, retries: int = 0, longest: str = "3600s"
) -> Path:
    given = {"parameters": {"text": {"componentInputParameter": "text"}}}
    made = {"taskOutputArtifact": {"producerTask": "write", "outputArtifactKey": "written"}}
    steps = {
        "write": step("write", WRITE, "written", inputs=given, cached=not fresh),
        "copy": step(
            *("copy", copy, "copied"),
            inputs={"artifacts": {"read": made}},
            cached=True,
            retries=retries,
            longest=longest,
        ),
    }
    spec = {
        "pipelineInfo": {"name": "two-commands"},
        "schemaVersion": "2.1.0",
        "defaultPipelineRoot": f"s3://{ARTIFACTS}/commands",
        "root": {
            "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
            "dag": {"tasks": {name: task for name, (task, _, _) in steps.items()}},
        },
        "components": {name: component for name, (_, component, _) in steps.items()},
        "deploymentSpec": {
            "executors": {name: executor for name, (_, _, executor) in steps.items()}
        },
    }
    path = folder / "commands.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_a_step_reads_the_output_of_the_previous_one_from_the_store(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    steps = cluster.run(write_package(tmp_path), {"text": "hello"})
    assert object_store.read(steps["copy"].outputs["copied"]["uri"]) == b"hello\n"


def test_only_the_same_inputs_are_cached(cluster: Cluster, tmp_path: Path):
    package = write_package(tmp_path)
    first = cluster.run(package, {"text": "a"})
    assert not any(step.cached for step in first.values())
    assert all(step.cached for step in cluster.run(package, {"text": "a"}).values())
    assert not any(step.cached for step in cluster.run(package, {"text": "b"}).values())


def test_a_step_after_an_uncached_one_runs_again(cluster: Cluster, tmp_path: Path):
    package = write_package(tmp_path, fresh=True)
    cluster.run(package, {"text": "a"})
    assert not any(step.cached for step in cluster.run(package, {"text": "a"}).values())


def test_a_failing_step_is_retried_with_growing_waits(cluster: Cluster, tmp_path: Path):
    waits: list[float] = []
    cluster.sleep = waits.append
    package = write_package(tmp_path, copy="echo no good; exit 3", retries=3)
    with pytest.raises(StepFailedError, match=r"copy failed 4 times:\nno good"):
        cluster.run(package, {"text": "a"})
    assert waits == [10.0, 30.0, 90.0]


def test_a_step_is_not_retried_once_its_longest_duration_would_pass(
    cluster: Cluster, tmp_path: Path
):
    cluster.sleep = lambda _: None
    package = write_package(tmp_path, copy="echo no good; exit 3", retries=3, longest="60s")
    with pytest.raises(StepFailedError, match=r"copy failed 3 times \(backoff would exceed max d"):
        cluster.run(package, {"text": "a"})


def test_a_missing_parameter_or_one_of_another_type_is_rejected(cluster: Cluster, tmp_path: Path):
    for given in ({}, {"text": 3}):
        with pytest.raises(TypeError, match="text: must be STRING"):
            cluster.run(write_package(tmp_path), given)
