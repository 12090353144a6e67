"""What a compiled step reads of the metadata that another has written, through both backends."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifact_stores import Mlmd, Tables
from launcher import PROJECT, Cluster
from store_on_localhost import ObjectStore

EXECUTORS = """
import json, pathlib
from tfx.dsl.components.base.base_executor import BaseExecutor

PROPERTIES = {
    "flag": True, "names": ["a", 1.5], "list_of_lists": {"list": [1]}, "sizes": {"a": {"b": 1}},
    "count": 3, "share": 0.25, "text": "x", "nothing": None,
}

class Writer(BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        (model,) = output_dict["model"]
        for key, value in PROPERTIES.items():
            model.set_json_value_custom_property(key, value)

class Reader(BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        (model,), (seen,) = input_dict["model"], output_dict["seen"]
        found = {key: model.get_json_value_custom_property(key) for key in PROPERTIES}
        pathlib.Path(seen.uri, "seen.json").write_text(json.dumps(found))
"""
MODEL = "tfx.types.standard_artifacts.Model"


def container(executor: str, types: dict[str, str]) -> dict[str, Any]:
    arguments = {
        "--executor_class_path": f"small_executors.{executor}",
        "--json_serialized_invocation_args": "{{$}}",
        "--artifact_types": json.dumps(types),
    }
    return {
        "container": {
            "image": "image:1",
            "command": ["python", "-m", "pipeline.kubeflow.entrypoint"],
            "args": [text for pair in arguments.items() for text in pair],
        }
    }


def write_package(folder: Path) -> Path:
    artifact = {"artifactType": {"schemaTitle": "system.Model"}}
    given = {"taskOutputArtifact": {"producerTask": "Writer", "outputArtifactKey": "model"}}
    components = {
        "Writer": {"outputDefinitions": {"artifacts": {"model": artifact}}},
        "Reader": {
            "inputDefinitions": {"artifacts": {"model": artifact}},
            "outputDefinitions": {"artifacts": {"seen": artifact}},
        },
    }
    tasks = {name: {"componentRef": {"name": name}} for name in components}
    tasks["Reader"]["inputs"] = {"artifacts": {"model": given}}
    spec = {
        "pipelineInfo": {"name": "two-executors"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": tasks}},
        "components": {name: {**of, "executorLabel": name} for name, of in components.items()},
        "deploymentSpec": {
            "executors": {
                "Writer": container("Writer", {"model": MODEL}),
                "Reader": container("Reader", {"model": MODEL, "seen": MODEL}),
            }
        },
    }
    path = folder / "executors.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.mark.parametrize("backend", [Mlmd, Tables])
def test_lists_and_structs_arrive_as_they_were_written(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path, backend: Any
):
    (tmp_path / "small_executors.py").write_text(EXECUTORS)
    cluster.artifacts = backend()
    cluster.environment = {**cluster.environment, "PYTHONPATH": f"{PROJECT}:{tmp_path}"}
    steps = cluster.run(write_package(tmp_path))
    seen = json.loads(object_store.read(steps["Reader"].outputs["seen"]["uri"] + "/seen.json"))
    # ML Metadata has no bool, and 1 is equal to True.
    assert seen == {
        "flag": True,
        "names": ["a", 1.5],
        "list_of_lists": {"list": [1]},
        "sizes": {"a": {"b": 1}},
        "count": 3,
        "share": 0.25,
        "text": "x",
        "nothing": None,
    }
