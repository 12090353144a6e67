"""The whole pipeline, from the compiled file to a pushed model, on a simulated cluster."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from artifact_stores import Tables
from launcher import PROJECT, Cluster, Pod, Step
from nearly import nearly
from store_on_localhost import ARTIFACTS, PHOTOS, SPAN, ObjectStore

from components.reporter import kfp_metrics
from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import parse

EPOCHS = 12


def preempt_the_first_trainer(pod: Pod, store: ObjectStore) -> None:
    """Kills the Trainer's first pod after it has saved an epoch, like a preempted spot node."""
    if pod.task == "Trainer" and pod.attempt == 1:
        threading.Thread(target=kill_after_an_epoch, args=(pod, store)).start()


def kill_after_an_epoch(pod: Pod, store: ObjectStore) -> None:
    while pod.process.poll() is None and not has_saved_an_epoch(store):
        time.sleep(0.05)
    pod.process.kill()


def has_saved_an_epoch(store: ObjectStore) -> bool:
    saved = store.names(ARTIFACTS, "root/checkpoints")
    return any(name.endswith("/state.npz") for name in saved)


def operating_point(model: Path) -> dict[str, Any]:
    (file,) = model.rglob("operating_point.json")
    return json.loads(file.read_text())


def kept_schema(registry: Path) -> str:
    return (registry / "schema" / "schema.pbtxt").read_text()


def run_locally(tree: dict[str, Any], sample: Path, folder: Path, bytecode: dict[str, str]) -> Path:
    """The output folder of a local run of the same settings on the same images."""
    tree = {key: value for key, value in tree.items() if key not in {"kubeflow", "pusher"}}
    photos = folder / "photos"
    shutil.copytree(sample, photos / SPAN)
    data = {"source": f"{photos}/{{SPAN}}", "manifest": f"{photos}/{{SPAN}}/manifest.csv"}
    tree["data"] = {**tree["data"], **data}
    tree["trainer"] = {**tree["trainer"], "epochs": EPOCHS}
    settings = folder / "local.yaml"
    settings.write_text(yaml.safe_dump(tree))
    subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.cli", "run"),
            *("--settings", str(settings), "--output", str(folder / "runs")),
            *("--span", SPAN),
        ],
        env={**os.environ, **bytecode, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        check=True,
    )
    return folder / "runs"


def test_the_compiled_pipeline_pushes_the_model_that_a_local_run_does(
    cluster: Cluster,
    object_store: ObjectStore,
    tree: dict[str, Any],
    sample: Path,
    bytecode: dict[str, str],
    tmp_path: Path,
):
    object_store.upload(sample, PHOTOS, SPAN)
    # A stable draw, whose ledger is kept in the cluster's object store.
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    tree["sampler"] = {
        "assignment": "stable",
        "splits": {name: {"cats": share, "dogs": share} for name, share in shares.items()},
    }
    package = compile_pipeline(parse(tree, origin="test"), tmp_path / "small.yaml")
    pods: list[Pod] = []

    def on_pod(pod: Pod) -> None:
        pods.append(pod)
        preempt_the_first_trainer(pod, object_store)

    cluster.on_pod = on_pod
    steps = cluster.run(package, {"span": SPAN, "epochs": EPOCHS})

    # The Trainer's first pod was killed; the second resumed from the object store.
    first, second = (pod for pod in pods if pod.task == "Trainer")
    assert first.process.returncode == -signal.SIGKILL
    assert steps["Trainer"].waits == [60.0]
    assert "of an interrupted training" in (second.folder / "log").read_text()
    assert not object_store.names(ARTIFACTS, "root/checkpoints")

    assert {pod.task for pod in pods if pod.node == "gpu"} == {"Trainer"}
    assert object_store.names(ARTIFACTS, "root/ledgers") == ["root/ledgers/small.ledger"]

    examples = steps["ImageExampleGen"].outputs["examples"]["metadata"]
    assert examples["split_names"] == '["all"]'
    assert examples["span"] == int(SPAN)
    blessing = steps["Evaluator"].outputs["blessing"]["metadata"]
    assert blessing["current_model"] == steps["Calibrator"].outputs["calibrated_model"]["uri"]

    here = run_locally(tree, sample, tmp_path, bytecode)
    (pushed,) = (cluster.claims["registry"] / "dogs").glob("[0-9]*")
    (local,) = (here / "registry").glob("[0-9]*")
    assert pushed.name == local.name
    assert kept_schema(pushed.parent) == kept_schema(local.parent)
    assert operating_point(pushed) == operating_point(local)
    report = object_store.read(steps["Reporter"].outputs["report"]["uri"] + "/metrics.json")
    local_report = json.loads((here / "latest" / "metrics.json").read_text())
    assert comparable(json.loads(report)) == comparable(local_report)

    check_the_run_page(steps["Reporter"], json.loads(report))


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """The report's content without paths and durations."""
    training = {key: value for key, value in report["training"].items() if key != "seconds"}
    assert report["pushed_model"]
    return nearly({**report, "training": training, "pushed_model": None})


def check_the_run_page(reporter: Step, report: dict[str, Any]) -> None:
    """Checks what the user interface draws: the report's figures, as ML Metadata keeps them.

    It keeps six decimals of a number, and all of those in a struct.
    """
    counts, at_prevalence = report["metrics"], report["at_prevalence"]
    scalars = reporter.outputs["metrics"]["metadata"]
    drawn = reporter.outputs["classification_metrics"]["metadata"]
    expected = {
        "recall": counts["recall"],
        "at_prevalence.precision": at_prevalence["precision"],
        "test.images": report["examples"],
        "blessed": int(report["blessed"]),
    }
    assert {name: scalars[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert drawn["confusionMatrix"]["struct"] == {
        "annotationSpecs": [{"displayName": "dogs"}, {"displayName": "not dogs"}],
        "rows": [{"row": [counts["tp"], counts["fn"]]}, {"row": [counts["fp"], counts["tn"]]}],
    }
    points = drawn["confidenceMetrics"]["list"]
    shown = [(point["falsePositiveRate"], point["recall"]) for point in points]
    assert (shown[0], shown[-1]) == ((0, 0), (1, 1))
    area = sum((x - w) * (y + z) / 2 for (w, y), (x, z) in itertools.pairwise(shown))
    assert area == pytest.approx(counts["auc"])
    # The backend without ML Metadata keeps them too.
    (file,) = reporter.pods[-1].folder.rglob("output_metadata.json")
    written = json.loads(file.read_text())["artifacts"]
    for key, title in kfp_metrics.TYPES.items():
        (artifact,) = written[key]["artifacts"]
        assert Tables().put(key, {"schemaTitle": title}, artifact["uri"], artifact["metadata"])
