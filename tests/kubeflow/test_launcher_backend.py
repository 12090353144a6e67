"""The launcher harness itself, on a pipeline of two shell commands."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifact_stores import MetadataError, Mlmd, Tables
from launcher import Cluster, StepFailedError
from store_on_localhost import ARTIFACTS, ObjectStore

WRITE = "echo {{$.inputs.parameters['text']}} > {{$.outputs.artifacts['written'].path}}"
OUTPUT_FILE = "$(dirname {{$.outputs.artifacts['copied'].path}})/output_metadata.json"
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
    folder: Path,
    *,
    write: str = WRITE,
    copy: str = COPY,
    name: str = "two-commands",
    fresh: bool = False,
    retries: int = 0,
    longest: str = "3600s",
    env: str = "1",
    constant: Any = None,
) -> Path:
    text = {"componentInputParameter": "text"} if constant is None else constant
    given = {"parameters": {"text": text}}
    made = {"taskOutputArtifact": {"producerTask": "write", "outputArtifactKey": "written"}}
    steps = {
        "write": step("write", write, "written", inputs=given, cached=not fresh),
        "copy": step(
            *("copy", copy, "copied"),
            inputs={"artifacts": {"read": made}},
            cached=True,
            retries=retries,
            longest=longest,
        ),
    }
    spec = {
        "pipelineInfo": {"name": name},
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
    for _, _, executor in steps.values():
        executor["container"]["env"] = [{"name": "LEVEL", "value": env}]
    path = folder / "commands.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.fixture(params=[Mlmd, Tables])
def cluster(cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """A cluster with ML Metadata, and one without."""
    cluster.artifacts = request.param()
    return cluster


def writing(metadata: str, **more: Any) -> str:
    """A command for the step `copy` that writes the metadata of its output."""
    artifact = {"metadata": json.loads(metadata), **more}
    text = json.dumps({"artifacts": {"copied": {"artifacts": [artifact]}}})
    return f"{COPY}; printf %s {shlex.quote(text)} > {OUTPUT_FILE}"


def text_of_write(cluster: Cluster, store: ObjectStore, package: Path, **parameters: Any) -> str:
    """What the step `write` has written."""
    steps = cluster.run(package, {"text": "a", **parameters})
    return store.read(steps["write"].outputs["written"]["uri"]).decode().strip()


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


def test_a_run_without_a_root_gets_the_cluster_s_and_never_the_package_s(
    cluster: Cluster, tmp_path: Path
):
    """`defaultPipelineRoot` of kfp-launcher, else the backend's own: backend/src/v2/config."""
    cluster.start = lambda command, folder, environment, log: subprocess.Popen(
        ["touch", str(log)], cwd=folder
    )
    package = write_package(tmp_path)
    roots = []
    for given, default in (
        ("s3://artifacts/asked", "s3://artifacts/b"),
        (None, "s3://artifacts/b"),
    ):
        cluster.default_root = default
        steps = cluster.run(package, {"text": "a"}, pipeline_root=given)
        roots.append(steps["write"].outputs["written"]["uri"].partition("/two-commands/")[0])
        cluster._cache.clear()
    assert roots == ["s3://artifacts/asked", "s3://artifacts/b"]
    cluster.default_root = None
    cluster.store.create_bucket(Bucket="mlpipeline")
    uri = cluster.run(package, {"text": "a"})["write"].outputs["written"]["uri"]
    assert uri.startswith("minio://mlpipeline/v2/artifacts/two-commands/")


def test_metadata_is_changed_by_ml_metadata_and_kept_without_it(cluster: Cluster, tmp_path: Path):
    """`StructValueToMLMDValue` in backend/src/v2/metadata/converter.go."""
    command = writing('{"flag": true, "count": 3, "names": ["a", 1], "sizes": {"a": 1}, "t": "x"}')
    found = cluster.run(write_package(tmp_path, copy=command), {"text": "a"})["copy"].outputs
    metadata = found["copied"]["metadata"]
    if isinstance(cluster.artifacts, Mlmd):
        assert metadata["flag"] == 1.0
        assert not isinstance(metadata["flag"], bool)
        assert metadata["names"] == {"list": ["a", 1]}
        assert metadata["sizes"] == {"struct": {"a": 1}}
        assert {"display_name", "store_session_info"} <= metadata.keys()
        assert "type" not in found["copied"]
    else:
        kept = {"flag": True, "count": 3, "names": ["a", 1], "sizes": {"a": 1}, "t": "x"}
        assert metadata == kept
        assert found["copied"]["name"] == "copied"
        assert found["copied"]["artifactId"]
        assert found["copied"]["type"] == {"schemaTitle": "Artifact"}
    assert (metadata["count"], metadata["t"]) == (3, "x")


def test_ml_metadata_has_no_null(cluster: Cluster, tmp_path: Path):
    package = write_package(tmp_path, copy=writing('{"nothing": null}'))
    if isinstance(cluster.artifacts, Mlmd):
        with pytest.raises(MetadataError, match="nothing: unknown/unsupported value type"):
            cluster.run(package, {"text": "a"})
    else:
        copied = cluster.run(package, {"text": "a"})["copy"].outputs["copied"]
        assert copied["metadata"] == {"nothing": None}


def test_without_ml_metadata_a_metric_is_a_number():
    """`uploadOutputArtifacts` in backend/src/v2/component/launcher_v2.go of the main branch."""
    uri, kind = "s3://artifacts/metrics", {"schemaTitle": "system.Metrics"}
    assert Tables().put("metrics", kind, uri, {"recall": 0.5})["metadata"] == {"recall": 0.5}
    for value in ("0.5", True, None):
        with pytest.raises(MetadataError, match="metric value 'recall' must be a number"):
            Tables().put("metrics", kind, uri, {"recall": value})


def test_another_environment_is_the_same_in_the_cache(cluster: Cluster, tmp_path: Path):
    """`GenerateCacheKey` in backend/src/v2/cacheutils/cache.go of release 2.16."""
    cluster.run(write_package(tmp_path), {"text": "a"})
    steps = cluster.run(write_package(tmp_path, env="2"), {"text": "a"})
    assert all(step.cached for step in steps.values())


def test_another_pipeline_or_namespace_has_a_cache_of_its_own(cluster: Cluster, tmp_path: Path):
    """`GetExecutionCache` in backend/src/v2/cacheutils/cache.go."""
    cluster.run(write_package(tmp_path), {"text": "a"})
    steps = cluster.run(write_package(tmp_path, name="another"), {"text": "a"})
    assert not any(step.cached for step in steps.values())
    cluster.namespace = "team"
    steps = cluster.run(write_package(tmp_path), {"text": "a"})
    assert not any(step.cached for step in steps.values())


@pytest.mark.parametrize(
    ("constant", "text"),
    [(1.0, "1"), (1e-05, "0.00001"), (1e21, "1000000000000000000000"), (2.5, "2.5"), (100, "100")],
)
def test_numbers_are_text_as_go_writes_them(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path, constant: float, text: str
):
    """`PbValueToText` in converter.go, by which `resolveInputs` of the driver converts them."""
    value = {"runtimeValue": {"constant": constant}}
    package = write_package(tmp_path, constant=value)
    assert text_of_write(cluster, object_store, package) == text


def test_other_values_are_text_too(cluster: Cluster, object_store: ObjectStore, tmp_path: Path):
    for constant, text in ((True, "true"), ([1, "b"], "[1,b]"), (None, "")):
        value = {"runtimeValue": {"constant": constant}}
        package = write_package(tmp_path, constant=value)
        assert text_of_write(cluster, object_store, package) == text


def test_placeholders_are_replaced_anywhere_in_args(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    """`compileCmdAndArgs` in backend/src/v2/component/launcher_v2.go."""
    write = (
        "echo 'x{{$.inputs.parameters['text']}}y{{$}}' > {{$.outputs.artifacts['written'].path}}"
    )
    written = text_of_write(cluster, object_store, write_package(tmp_path, write=write))
    assert written.startswith("xay{")


def test_the_program_has_only_the_placeholder_of_all_input(cluster: Cluster, tmp_path: Path):
    """`compileCmdAndArgs`: its `cmd` is the first word of `command`."""
    commands: list[list[str]] = []

    def start(command: Any, folder: Path, environment: Any, log: Path) -> Any:
        commands.append(list(command))
        return subprocess.Popen(["touch", str(log)], cwd=folder)

    cluster.start = start
    package = write_package(tmp_path)
    spec = yaml.safe_load(package.read_text())
    container = spec["deploymentSpec"]["executors"]["write"]["container"]
    container["command"] = [
        "a{{$}}{{$.inputs.parameters['text']}}",
        "{{$.inputs.parameters['text']}}",
    ]
    package.write_text(yaml.safe_dump(spec))
    cluster.run(package, {"text": "hello"})
    program, second, *_ = commands[0]
    assert program.startswith("a{")
    assert program.endswith("}{{$.inputs.parameters['text']}}")
    assert second == "hello"


def test_a_key_that_begins_like_an_input_lands_beside_it(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    """`DownloadBlob` in backend/src/v2/objectstore/object_store.go of release 2.16."""
    folder = "$(dirname {{$.outputs.artifacts['written'].path}})"
    custom = f"mkdir -p {folder}/written; echo in > {folder}/written/a"
    listed = "{ cd {{$.inputs.artifacts['read'].path}}/..; find . -type f | sort; }"
    copy = f"{listed} > {{{{$.outputs.artifacts['copied'].path}}}}"
    package = write_package(tmp_path, write=custom, copy=copy)
    uri = cluster.run(package, {"text": "a"})["write"].outputs["written"]["uri"]
    bucket, _, key = uri.partition("://")[2].partition("/")
    object_store.client.put_object(Bucket=bucket, Key=f"{key}_run/b", Body=b"beside")
    made = {"write": {"written": {"name": "another", "uri": uri, "metadata": {}}}}
    copied = cluster.run_step(package, "copy", made, {"text": "a"}).outputs["copied"]["uri"]
    assert object_store.read(copied).decode().split() == ["./written/a", "./written_run/b"]


def test_the_log_of_each_attempt_is_stored_although_it_failed(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    """The launcher's `executor-logs`, with the number of retries, which Argo gives it."""
    package = write_package(tmp_path, copy="echo no good; exit 3", retries=1)
    with pytest.raises(StepFailedError):
        cluster.run(package, {"text": "a"}, pipeline_root=f"s3://{ARTIFACTS}/{tmp_path.name}")
    names = object_store.names(ARTIFACTS, tmp_path.name)
    logs = sorted(name for name in names if "/copy/" in name)
    assert [name.rpartition("/")[2] for name in logs] == ["executor-logs-0", "executor-logs-1"]
    assert object_store.read(f"s3://{ARTIFACTS}/{logs[0]}") == b"no good\n"


def test_an_output_with_a_path_of_its_own_is_stored_from_there(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    """`retrieveArtifactPath` in backend/src/v2/component/launcher_v2.go."""
    (tmp_path / "elsewhere").write_text("found")
    command = writing("{}", customPath=str(tmp_path / "elsewhere"))
    steps = cluster.run(write_package(tmp_path, copy=command), {"text": "a"})
    assert object_store.read(steps["copy"].outputs["copied"]["uri"]) == b"found"
