"""The exit step of a compiled pipeline tells how the run ended, on a simulated cluster.

The other steps are replaced: each leaves a file per output, or fails as a test asks.
"""

import json
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from artifact_stores import Mlmd, Tables
from launcher import Cluster, Pod, StepFailedError, _mirror, start_process
from receivers import HttpReceiver
from store_on_localhost import ARTIFACTS, ObjectStore

from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import parse

TOKEN = "a-secret-in-the-path"
VERDICT = {"blessed": True, "reason": "all gates passed"}
PUSHED = {**VERDICT, "pushed": 1, "pushed_version": "7", "pushed_destination": "/registry/7"}
UNREACHABLE = f"http://127.0.0.1:9/{TOKEN}"


class Steps:
    """Stands for all steps but the Notifier.

    Attributes:
      pushed: what the Pusher leaves.
      failing: the end of the log of steps that fail, by name.
      lost: names of steps whose pod is lost.
      evicted: how many attempts at the Notifier fail.
    """

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {**PUSHED, "is_new": True}
        self.failing: dict[str, str] = {}
        self.lost: set[str] = set()
        self.evicted = 0

    def start(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> Any:
        if "pipeline.kubeflow.notifier" in command:
            if self.evicted:
                self.evicted -= 1
                log.write_text("evicted")
                return subprocess.Popen(["false"])
            return start_process(command, folder, environment, log)
        given = json.loads(command[command.index("--json_serialized_invocation_args") + 1])
        outputs = {key: of["artifacts"][0] for key, of in given["outputs"]["artifacts"].items()}
        uri = next(output["uri"] for output in outputs.values())
        name = uri.split("/")[-3]
        log.touch()
        if name in self.lost:
            return subprocess.Popen(["sh", "-c", f"kill -{signal.SIGKILL.value} $$"])
        if name in self.failing:
            log.write_text(f"Traceback (most recent call last)\n{self.failing[name]}\n")
            return subprocess.Popen(["sh", "-c", "exit 1"])
        log.write_text("done\n")
        for key, output in outputs.items():
            if not key.startswith("executor-logs"):
                path = _mirror(folder.parent, output["uri"])
                path.mkdir(parents=True, exist_ok=True)
                file = "pushed.json" if name == "Pusher" else "content.json"
                (path / file).write_text(json.dumps(self.pushed))
        return subprocess.Popen(["true"])


@pytest.fixture
def steps(cluster: Cluster) -> Steps:
    found = Steps()
    cluster.start = found.start
    cluster.environment = {**cluster.environment, "AWS_EC2_METADATA_DISABLED": "true"}
    return found


@pytest.fixture
def pods(cluster: Cluster) -> list[Pod]:
    found: list[Pod] = []
    cluster.on_pod = found.append
    return found


@pytest.fixture
def receiver(cluster: Cluster):
    with HttpReceiver() as found:
        cluster.secrets = {
            **cluster.secrets,
            "notifications": {"url": f"{found.url}/{TOKEN}", "key": "of it", "slack": UNREACHABLE},
        }
        yield found


@pytest.fixture
def package(tree: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    def write(data_version: str = "", retries: int = 0, **section: Any) -> Path:
        names = {"OUTNUMBERED_WEBHOOK_URL": "url", "KEY": "key", "OUTNUMBERED_SLACK_URL": "slack"}
        tree["kubeflow"]["secrets"] += [
            {"name": "notifications", "env": names, "steps": ["Notifier"]}
        ]
        tree["kubeflow"] |= {"host": "https://kfp.example.com", "retries": {"count": retries}}
        given = section or {"webhook": {"signing_key_env": "KEY"}}
        tree["notifications"] = {"timeout_seconds": 5, **given}
        loaded = parse(tree, origin="test")
        return compile_pipeline(loaded, tmp_path / "small.yaml", data_version=data_version)

    return write


def told(receiver: HttpReceiver) -> dict[str, Any]:
    ((path, headers, body),) = receiver.requests
    assert path == f"/{TOKEN}"
    assert headers["X-Outnumbered-Signature"].startswith("sha256=")
    return json.loads(body)


def notifier(pods: list[Pod]) -> tuple[int, str]:
    """The exit code and log of the exit step."""
    (pod,) = (pod for pod in pods if pod.task == "Notifier")
    return pod.process.returncode, (pod.folder / "log").read_text()


@pytest.mark.parametrize("backend", [Mlmd, Tables])
def test_a_run_that_pushed_a_version_is_told_with_verdict_and_link(
    backend, cluster, object_store: ObjectStore, steps, pods, receiver, package
):
    cluster.artifacts = backend()
    done = cluster.run(package())
    found = told(receiver)
    assert (found["outcome"], found["version"], found["model"]) == ("pushed", 7, "/registry/7")
    assert (found["blessed"], found["reason"]) == (True, "all gates passed")
    run_id = done["Reporter"].outputs["report"]["uri"].split("/")[-4]
    assert found["run"] == {
        "id": run_id,
        "name": "Run of small",
        "link": f"https://kfp.example.com/#/runs/details/{run_id}",
    }
    kept = object_store.read(done["Notifier"].outputs["notification"]["uri"])
    assert json.loads(kept) == found
    code, log = notifier(pods)
    assert code == 0
    assert log == f"{found['text']}\n"


@pytest.mark.parametrize("backend", [Mlmd, Tables])
def test_a_run_that_failed_is_told_with_step_reason_and_link(
    backend, cluster, steps, receiver, package
):
    cluster.artifacts = backend()
    steps.failing = {"Trainer": "Trainer failed: no image of dogs is left in train; add images"}
    with pytest.raises(StepFailedError, match="Trainer failed 1 times"):
        cluster.run(package())
    found = told(receiver)
    assert found["outcome"] == "failed"
    assert found["failures"] == [{"step": "Trainer", "reason": steps.failing["Trainer"]}]
    assert found["text"].splitlines() == [
        "small: the run failed in Trainer",
        "Run: Run of small",
        steps.failing["Trainer"],
        f"https://kfp.example.com/#/runs/details/{found['run']['id']}",
    ]


@pytest.mark.parametrize("backend", [Mlmd, Tables])
def test_a_run_that_lost_a_pod_is_told_as_failed(backend, cluster, steps, receiver, package):
    cluster.artifacts = backend()
    steps.lost = {"Trainer"}
    with pytest.raises(StepFailedError):
        cluster.run(package())
    found = told(receiver)
    assert found["outcome"] == "failed"
    assert found["failures"][0]["step"] is None


def test_a_run_whose_steps_were_cached_is_told_with_the_verdict_on_its_model(
    cluster, steps, receiver, package
):
    compiled = package(data_version="1")
    cluster.run(compiled)
    receiver.requests.clear()
    steps.pushed = {"pushed": 0, "blessed": False, "reason": "recall is 0.84"}
    done = cluster.run(compiled)
    assert {"ImageExampleGen", "Trainer"} <= {name for name in done if done[name].cached}
    assert not done["Reporter"].cached
    found = told(receiver)
    assert (found["outcome"], found["blessed"]) == ("not_blessed", False)
    assert found["reason"] == "recall is 0.84"


def test_a_notifier_that_is_tried_again_tells_of_the_steps_alone(cluster, steps, receiver, package):
    steps.failing, steps.evicted = {"Trainer": "Trainer failed: no image is left"}, 1
    with pytest.raises(StepFailedError, match="Trainer failed 2 times"):
        cluster.run(package(retries=1))
    assert [failure["step"] for failure in told(receiver)["failures"]] == ["Trainer"]


@pytest.mark.parametrize("failing", [False, True])
def test_the_outcome_of_a_run_stands_if_nobody_can_be_told(
    failing, cluster, object_store: ObjectStore, steps, pods, receiver, package, tmp_path
):
    message = tmp_path / "termination-log"
    message.touch()
    cluster.environment = {**cluster.environment, "OUTNUMBERED_TERMINATION_LOG": str(message)}
    if failing:
        steps.failing = {"Trainer": "Trainer failed: no image is left"}
        with pytest.raises(StepFailedError, match="Trainer failed 1 times"):
            cluster.run(package(slack={}))
    else:
        assert "Notifier" in cluster.run(package(slack={}))
    code, log = notifier(pods)
    assert code == 0
    warning = (
        "not told about the run: Slack's webhook of OUTNUMBERED_SLACK_URL, because its server "
        "can't be reached. The run's own outcome stands"
    )
    assert log.endswith(f"warning: {warning}\n")
    assert message.read_text() == warning
    assert_nowhere(TOKEN, object_store, pods, tmp_path / "small.yaml")


def assert_nowhere(secret: str, store: ObjectStore, pods: list[Pod], package: Path) -> None:
    """A secret is neither in the compiled file, nor in logs, nor in the object store."""
    assert secret not in package.read_text()
    for pod in pods:
        for path in pod.folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes()
    for name in store.names(ARTIFACTS, "root/small/"):
        assert secret.encode() not in store.read(f"s3://{ARTIFACTS}/{name}")


def test_a_missing_secret_keeps_no_run_from_its_end(cluster, steps, pods, package):
    assert "Notifier" in cluster.run(package())
    code, log = notifier(pods)
    assert code == 0
    assert "the environment variable KEY is not set" in log


def test_without_the_key_of_the_store_it_is_told_what_is_known(
    cluster, tree, steps, receiver, package
):
    tree["kubeflow"]["secrets"][0]["steps"] = ["ImageExampleGen"]
    cluster.run(package())
    found = told(receiver)
    assert (found["outcome"], found["blessed"]) == ("finished", None)
    assert "the verdict on the model is not known" in found["reason"]
    assert "credentials" in found["reason"]


def test_nothing_is_told_that_the_settings_leave_out(cluster, steps, pods, receiver, package):
    cluster.run(package(webhook={}, outcomes=["failed"]))
    assert receiver.requests == []
    assert notifier(pods)[0] == 0


def test_arguments_of_another_release_are_no_failure(tmp_path: Path):
    command = [*shlex.split("python -m pipeline.kubeflow.notifier"), "--unknown"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "nobody was told about the run" in done.stderr
