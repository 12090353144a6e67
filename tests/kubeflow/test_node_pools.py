"""Steps run on the nodes of their pool, and ask of them what the pool's settings say."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from launcher import CPU_NODE, GPU_NODE, Cluster, Node, UnschedulableError

from pipeline.kubeflow.compile import CompileError, compile_pipeline, compile_study
from pipeline.settings import parse
from pipeline.study.settings import StudySettings

LARGE_NODE = Node("large", labels={"pool": "large", "disk": "ssd"}, taints=["dedicated=large"])
LARGE = {
    "steps": ["StatisticsGen", "Evaluator"],
    "node_selector": {"pool": "large"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "large"}],
    "resources": {"cpu": "8", "cpu_request": "500m", "memory": "64Gi", "memory_request": "32Gi"},
    "labels": {"kueue.x-k8s.io/queue-name": "large"},
}


def compiled(tree: Mapping[str, Any], path: Path, **kubeflow: Any) -> Path:
    section = {**tree["kubeflow"], "retries": {"count": 0}, **kubeflow}
    return compile_pipeline(parse({**tree, "kubeflow": section}, origin="test"), path)


def documents(package: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container and the Kubernetes settings of each step."""
    spec, platform = yaml.safe_load_all(package.read_text())
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return (
        {
            label.removesuffix("_executor"): executor["container"]
            for label, executor in spec["deploymentSpec"]["executors"].items()
        },
        {label.removesuffix("_executor"): config for label, config in configs.items()},
    )


@pytest.fixture
def package(tree: dict[str, Any], tmp_path: Path) -> Path:
    return compiled(tree, tmp_path / "small.yaml", node_pools={"large": LARGE})


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    """A cluster with a large node, whose pods only touch their logs."""

    def start(
        command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["touch", str(log)], cwd=folder)

    cluster.start = start
    cluster.nodes = (LARGE_NODE, CPU_NODE, GPU_NODE)
    return cluster


def nodes(cluster: Cluster, package: Path) -> dict[str, str]:
    """The node on which each step runs, if it is not the first CPU node."""
    found = {name: step.pods[0].node for name, step in cluster.run(package).items()}
    return {name: node for name, node in found.items() if node != CPU_NODE.name}


def test_each_step_runs_on_a_node_of_its_pool(cluster: Cluster, package: Path):
    assert nodes(cluster, package) == {
        "StatisticsGen": "large",
        "Evaluator": "large",
        "Trainer": "gpu",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_selector": {"pool": "larger"}},
        {"tolerations": []},
        {"tolerations": [{"key": "dedicated", "operator": "Equal", "value": "small"}]},
        {"tolerations": [{"key": "dedicated", "effect": "NoExecute"}]},
    ],
)
def test_a_step_that_fits_no_node_is_not_run_elsewhere(
    cluster: Cluster, tree: dict[str, Any], tmp_path: Path, wrong: dict[str, Any]
):
    package = compiled(tree, tmp_path / "small.yaml", node_pools={"large": {**LARGE, **wrong}})
    with pytest.raises(UnschedulableError, match="StatisticsGen fits none of"):
        cluster.run(package)


def test_a_step_of_a_pool_has_its_resources_labels_and_nodes(package: Path):
    containers, configs = documents(package)
    for step in LARGE["steps"]:
        assert containers[step]["resources"] == {
            "cpuLimit": 8.0,
            "cpuRequest": 0.5,
            "memoryLimit": pytest.approx(68.719476736),
            "memoryRequest": pytest.approx(34.359738368),
            "resourceCpuLimit": "8",
            "resourceCpuRequest": "500m",
            "resourceMemoryLimit": "64Gi",
            "resourceMemoryRequest": "32Gi",
        }
        assert configs[step]["nodeSelector"] == {"labels": {"pool": "large"}}
        assert configs[step]["tolerations"] == [
            {"key": "dedicated", "operator": "Equal", "value": "large", "effect": "NoSchedule"}
        ]
        assert configs[step]["podMetadata"]["labels"] == {
            "kueue.x-k8s.io/queue-name": "large",
            "outnumbered-step": step,
        }


def test_other_steps_are_as_they_are_without_pools(
    package: Path, tree: dict[str, Any], tmp_path: Path
):
    without = documents(compiled(tree, tmp_path / "without.yaml"))
    for mine, others in zip(documents(package), without, strict=True):
        # The two that get all settings, to show and to record them, differ in these.
        for step in mine.keys() - {*LARGE["steps"], "Reporter", "Pusher"}:
            assert mine[step] == others[step]
        for step in LARGE["steps"]:
            assert mine[step] != others[step]


def test_a_pool_without_resources_has_those_of_cpu_steps(tree: dict[str, Any], tmp_path: Path):
    pool = {"steps": ["Evaluator"], "node_selector": {"disk": "ssd"}}
    containers, _ = documents(compiled(tree, tmp_path / "a.yaml", node_pools={"fast": pool}))
    assert containers["Evaluator"]["resources"] == containers["Pusher"]["resources"]


def test_a_pool_is_for_all_arms_of_a_study_or_for_one(
    cluster: Cluster, tree: dict[str, Any], tmp_path: Path
):
    small = Node("small", labels={"pool": "small"})
    cluster.nodes = (*cluster.nodes, small)
    pools = {
        "small": {"steps": ["Trainer"], "node_selector": {"pool": "small"}},
        "large": {**LARGE, "steps": ["Trainer.a"]},
    }
    study = {key: tree[key] for key in ("name", "data", "population", "sampler", "trainer")} | {
        "replicates": 2,
        "arms": [{"name": name, "train": "train"} for name in ("a", "b", "a-b")],
        "kubeflow": {**tree["kubeflow"], "gpu": {"count": 0}, "node_pools": pools},
    }
    package = compile_study(StudySettings.model_validate(study), tmp_path / "study.yaml")
    assert nodes(cluster, package) == {
        "Trainer-a": "large",
        "Trainer-b": "small",
        "Trainer-a-b": "small",
    }


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        ("evaluator", "'evaluator' (did you mean 'Evaluator'?)"),
        ("schmgn", "'schmgn' (did you mean 'SchemaGen'?)"),
        ("Evaluater", "'Evaluater' (did you mean 'Evaluator'?)"),
        ("FeatureExtractor", "'FeatureExtractor'"),
        ("Evaluator.balanced", "'Evaluator.balanced'"),
    ],
)
def test_a_pool_with_a_step_that_the_pipeline_has_not_is_refused(
    tree: dict[str, Any], tmp_path: Path, step: str, hint: str
):
    with pytest.raises(CompileError) as raised:
        compiled(tree, tmp_path / "small.yaml", node_pools={"large": {"steps": [step]}})
    message = str(raised.value)
    assert "node_pools.large.steps must list steps of this pipeline: Calibrator, " in message
    assert f"Received: {hint}" in message
    assert not (tmp_path / "small.yaml").exists()
