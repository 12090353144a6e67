"""The launcher harness itself: DAGs within DAGs and exit tasks, as kfp compiles them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifact_stores import Mlmd, Tables
from kfp import compiler, dsl, kubernetes
from launcher import Cluster, Pod, StepFailedError, UnschedulableError
from store_on_localhost import ARTIFACTS, ObjectStore

ROOT = f"s3://{ARTIFACTS}/exits"


@dsl.container_component
def work(text: str, written: dsl.Output[dsl.Artifact]):
    """Writes a text, unless it is `fail` or `wait`."""
    command = 'test "$0" != fail; test "$0" != wait || sleep 600; echo "$0" > "$1"'
    return dsl.ContainerSpec(image="i:1", command=["sh", "-ec", command], args=[text, written.path])


@dsl.container_component
def copy(read: dsl.Input[dsl.Artifact], copied: dsl.Output[dsl.Artifact]):
    return dsl.ContainerSpec(
        image="i:1", command=["sh", "-ec", 'cat "$0" > "$1"'], args=[read.path, copied.path]
    )


@dsl.container_component
def tell(
    status: dsl.PipelineTaskFinalStatus,
    name: str,
    resource: str,
    run: str,
    ends: str,
    told: dsl.Output[dsl.Artifact],
):
    """Writes what it knows of the run, and ends as `ends` says."""
    command = 'printf "%s\\n" "$1" "$2" "$3" "$4" "$SECRET" > "$5"; "$0"'
    return dsl.ContainerSpec(
        image="i:1",
        command=["sh", "-ec", command],
        args=[ends, status, name, resource, run, told.path],
    )


def write_package(
    path: Path, *, retries: int = 0, ends: str = "true", optional: bool = True
) -> Path:
    @dsl.pipeline(name="exits")
    def whole(text: str = "a"):
        last = tell(
            name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            ends=ends,
        )
        last.set_caching_options(False)
        kubernetes.use_secret_as_env(last, "s", {"key": "SECRET"}, optional=optional)
        with dsl.ExitHandler(last):
            first = work(text=text)
            copy(read=first.outputs["written"])
            if retries:
                first.set_retry(retries, backoff_max_duration="600s")

    compiler.Compiler().compile(whole, str(path))
    return path


@pytest.fixture(params=[Mlmd, Tables])
def cluster(cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """A cluster with ML Metadata, and one without."""
    cluster.artifacts = request.param()
    return cluster


def told(store: ObjectStore, pods: list[Pod]) -> tuple[dict[str, Any], list[str]]:
    """What the exit task was told: the status of the DAG, and the texts."""
    (pod,) = (pod for pod in pods if pod.task == "tell")
    (written,) = pod.folder.glob("s3/artifacts/exits/exits/*/tell/*/told")
    status, *texts = written.read_text().splitlines()
    return json.loads(status), texts


@pytest.fixture
def pods(cluster: Cluster) -> list[Pod]:
    found: list[Pod] = []
    cluster.on_pod = found.append
    return found


def test_tasks_of_an_inner_dag_read_and_write_as_those_of_the_root_do(
    cluster: Cluster, object_store: ObjectStore, tmp_path: Path
):
    """`provisionOutputs` in backend/src/v2/driver/driver.go: a URI has the task, not its DAG."""
    package = write_package(tmp_path / "p.yaml")
    copied = cluster.run(package, {"text": "b"}, pipeline_root=ROOT)["copy"].outputs["copied"]
    assert object_store.read(copied["uri"]) == b"b\n"
    _, task, _, key = copied["uri"].removeprefix(f"{ROOT}/exits/").split("/")
    assert (task, key) == ("copy", "copied")


def test_an_exit_task_is_told_the_names_of_the_run_and_that_it_succeeded(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """`resolveInputParameter` in backend/src/v2/driver/resolve.go."""
    cluster.run(write_package(tmp_path / "p.yaml"), pipeline_root=ROOT)
    status, (name, resource, run, *_) = told(object_store, pods)
    assert status == {
        "state": "COMPLETE" if isinstance(cluster.artifacts, Mlmd) else "SUCCEEDED",
        "pipelineTaskName": "exit-handler-1",
        "pipelineJobResourceName": resource,
        "error": {},
    }
    assert name == "Run of exits"
    assert pods[-1].task == "tell"
    assert f"/{run}/tell/" in str(next(pods[-1].folder.glob("s3/artifacts/exits/exits/*/tell/*")))


def test_an_exit_task_runs_after_a_failure_which_stays_the_run_s(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """A lifecycle hook of Argo; in release 2.16 its status has no message."""
    with pytest.raises(StepFailedError, match="work failed 1 times"):
        cluster.run(write_package(tmp_path / "p.yaml"), {"text": "fail"}, pipeline_root=ROOT)
    assert [pod.task for pod in pods] == ["work", "tell"]
    status, _ = told(object_store, pods)
    assert status["state"] == "FAILED"
    assert bool(status["error"]) == isinstance(cluster.artifacts, Tables)


def test_a_step_that_failed_and_was_retried_is_no_failure(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """`UpdateDAGExecutionsState` in backend/src/v2/metadata/client.go counts the last states."""
    cluster.sleep = lambda _: (tmp_path / "ready").touch()
    package = write_package(tmp_path / "p.yaml", retries=1)
    text = package.read_text().replace('test "$0" != fail;', f"test -e {tmp_path}/ready;")
    package.write_text(text)
    cluster.run(package, pipeline_root=ROOT)
    assert [pod.task for pod in pods] == ["work", "work", "copy", "tell"]
    assert told(object_store, pods)[0]["state"] in {"COMPLETE", "SUCCEEDED"}


def test_a_pod_that_is_lost_leaves_the_state_of_its_dag_in_ml_metadata_as_it_was(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """Only launchers change it, and that of a lost pod can't; nor can it store the log."""

    def on_pod(pod: Pod) -> None:
        pods.append(pod)
        if pod.task == "work":
            os.kill(pod.process.pid, signal.SIGKILL)

    cluster.on_pod = on_pod
    with pytest.raises(StepFailedError):
        cluster.run(write_package(tmp_path / "p.yaml"), {"text": "wait"}, pipeline_root=ROOT)
    status, (_, _, run, *_) = told(object_store, pods)
    assert status["state"] == ("RUNNING" if isinstance(cluster.artifacts, Mlmd) else "FAILED")
    assert not object_store.names(ARTIFACTS, f"exits/exits/{run}/work/")


def test_a_dag_of_cached_tasks_stays_running_in_ml_metadata(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """The driver of a cached task, in backend/src/v2/driver/container.go, publishes it alone."""
    package = write_package(tmp_path / "p.yaml")
    cluster.run(package, pipeline_root=ROOT)
    pods.clear()
    cluster.run(package, pipeline_root=ROOT)
    assert [pod.task for pod in pods] == ["tell"]
    status, _ = told(object_store, pods)
    assert status["state"] == ("RUNNING" if isinstance(cluster.artifacts, Mlmd) else "SUCCEEDED")


def test_a_run_whose_exit_task_fails_has_succeeded(
    cluster: Cluster, pods: list[Pod], tmp_path: Path
):
    """`assessDAGPhase` in Argo's workflow/controller/dag.go."""
    steps = cluster.run(write_package(tmp_path / "p.yaml", ends="false"), pipeline_root=ROOT)
    assert [pod.task for pod in pods] == ["work", "copy", "tell"]
    assert steps.keys() == {"work", "copy"}


def test_an_inner_dag_has_no_parameters_but_its_own(
    cluster: Cluster, pods: list[Pod], tmp_path: Path
):
    """«parent DAG does not have input parameter»; the exit task is a hook of the DAG's task."""
    package = write_package(tmp_path / "p.yaml")
    spec, platform = yaml.safe_load_all(package.read_text())
    task = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]["work"]
    task["inputs"]["parameters"]["text"] = {"componentInputParameter": "text"}
    package.write_text(yaml.safe_dump_all([spec, platform]))
    with pytest.raises(KeyError, match="text"):
        cluster.run(package, pipeline_root=ROOT)


def test_only_an_optional_secret_may_be_missing(
    cluster: Cluster, object_store: ObjectStore, pods: list[Pod], tmp_path: Path
):
    """A pod waits for a secret that it requires, and the run for the pod."""
    with pytest.raises(UnschedulableError, match="no key key in s"):
        cluster.run(write_package(tmp_path / "p.yaml", optional=False), pipeline_root=ROOT)
    pods.clear()
    cluster.run(write_package(tmp_path / "p.yaml"), pipeline_root=ROOT)
    assert told(object_store, pods)[1][-1] == ""
    pods.clear()
    cluster.secrets = {"s": {"key": "of it"}}
    cluster.run(write_package(tmp_path / "p.yaml", optional=False), pipeline_root=ROOT)
    assert told(object_store, pods)[1][-1] == "of it"
