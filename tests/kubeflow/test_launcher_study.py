"""A study of two arms on two draws of the splits, from the compiled file to its report, on a
simulated cluster."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from launcher import PROJECT, Cluster, Pod
from nearly import nearly
from store_on_localhost import ARTIFACTS, PHOTOS, SPAN, ObjectStore

from pipeline.kubeflow.compile import CompileError, compile_study
from pipeline.settings import parse_as
from pipeline.study.settings import StudySettings

ROOT = "of-this-run"
ARMS = [
    {"name": "cnn", "train": "train"},
    {"name": "frozen", "train": "train", "trainer": {"model": "xception", "weights": "none"}},
]


@pytest.fixture
def study_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """The images and cluster of the small pipeline, with two arms instead of its trainer."""
    kept = {key: tree[key] for key in ("data", "population", "sampler", "kubeflow")}
    trainer = {"model": "cnn", "image_size": 71, "epochs": 1}
    repeats = {"replicates": {"seeds": 1, "splits": 2}, "curve": {"positives": [3]}}
    return {"name": "study", **kept, "trainer": trainer, "arms": ARMS, **repeats}


def study(tree: dict[str, Any]) -> StudySettings:
    return parse_as(StudySettings, tree, origin="test")


def run_locally(tree: dict[str, Any], sample: Path, folder: Path) -> dict[str, Any]:
    """The result of the study in a local run on the same images."""
    data = {"source": str(sample), "manifest": str(sample / "manifest.csv")}
    local = {key: value for key, value in tree.items() if key != "kubeflow"}
    (folder / "study.yaml").write_text(yaml.safe_dump({**local, "data": {**tree["data"], **data}}))
    subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.cli", "study"),
            *("--settings", str(folder / "study.yaml"), "--output", str(folder / "runs")),
        ],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    return json.loads((folder / "runs/latest/study.json").read_text())


def kill_after_a_replicate(pod: Pod, store: ObjectStore) -> None:
    while pod.process.poll() is None and not has_kept_a_replicate(store):
        time.sleep(0.05)
    pod.process.kill()


def has_kept_a_replicate(store: ObjectStore) -> bool:
    kept = store.names(ARTIFACTS, f"{ROOT}/checkpoints")
    return any("/replicate-" in name and name.endswith(".npz") for name in kept)


def test_a_compiled_study_gives_the_same_figures_as_a_local_run(
    forking: Cluster,
    object_store: ObjectStore,
    study_tree: dict[str, Any],
    sample: Path,
    tmp_path: Path,
):
    object_store.upload(sample, PHOTOS, SPAN)
    pods: list[Pod] = []

    def on_pod(pod: Pod) -> None:
        pods.append(pod)
        if pod.task == "Trainer-cnn" and pod.attempt == 1:
            threading.Thread(target=kill_after_a_replicate, args=(pod, object_store)).start()

    forking.on_pod = on_pod
    package = compile_study(study(study_tree), tmp_path / "study.yaml")
    root = f"s3://{ARTIFACTS}/{ROOT}"
    steps = forking.run(package, {"span": SPAN, "pipeline_root": root}, pipeline_root=root)

    # The arm's first pod was killed; the second resumed from the run's pipeline root.
    first, second = (pod for pod in pods if pod.task == "Trainer-cnn")
    assert first.process.returncode == -signal.SIGKILL
    assert "arm cnn resumes after" in (second.folder / "log").read_text()
    assert not object_store.names(ARTIFACTS, f"{ROOT}/checkpoints")

    arms = {pod.task for pod in pods if pod.node == "gpu"}
    assert arms == {"Trainer-cnn", "Trainer-curve", "Trainer-frozen"}
    report = steps["StudyReporter"].outputs["study_report"]["uri"]
    there = json.loads(object_store.read(f"{report}/study.json"))
    here = run_locally(study_tree, sample, tmp_path)
    assert [comparable(arm) for arm in there["arms"]] == [comparable(arm) for arm in here["arms"]]
    assert there["answer"] == here["answer"]
    assert nearly(there["curve"]) == nearly(here["curve"])
    assert there["method"]["split_draws"] == 2


def comparable(arm: dict[str, Any]) -> dict[str, Any]:
    """All figures of an arm except durations."""
    return nearly({key: value for key, value in arm.items() if key != "seconds"})


def test_arms_wait_for_features_and_not_for_each_other(study_tree: dict[str, Any], tmp_path: Path):
    package = compile_study(study(study_tree), tmp_path / "study.yaml")
    tasks = next(yaml.safe_load_all(package.read_text()))["root"]["dag"]["tasks"]
    (extractor,) = (name for name in tasks if name.startswith("FeatureExtractor"))
    assert tasks["Trainer-cnn"]["dependentTasks"] == ["ImbalanceSampler"]
    # The draws are rows of the features, and are in the sampler's report.
    assert sorted(tasks["Trainer-frozen"]["dependentTasks"]) == [extractor, "ImbalanceSampler"]


def test_a_feature_store_that_would_not_outlive_its_pod_is_rejected(
    study_tree: dict[str, Any], tmp_path: Path
):
    lost = study({**study_tree, "feature_store": "/tmp/features"})
    with pytest.raises(CompileError, match="feature_store must be a folder that outlives the pod"):
        compile_study(lost, tmp_path / "study.yaml")
