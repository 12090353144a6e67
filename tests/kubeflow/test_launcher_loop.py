"""The compiled pipeline is the whole loop: spans, champion, gates, and a registry in a bucket."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from launcher import Cluster, Step
from receivers import HttpReceiver
from store_on_localhost import ARTIFACTS, PHOTOS, ObjectStore

from components.registry import open_registry
from pipeline.kubeflow.compile import compile_pipeline
from pipeline.sample.dataset import make_sample
from pipeline.settings import parse

PREFIX, ROOT = "loop-of-test", "root-of-loop"
REGISTRY = f"s3://{ARTIFACTS}/loop-of-test/dogs"
SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}
GATES = ["pr_auc not worse than champion by 0.9", "recall better than champion"]


@pytest.fixture
def settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings of a loop whose second model can't be shown to be better than the first."""
    source = f"s3://{PHOTOS}/{PREFIX}/{{SPAN}}"
    tree["data"] = {"source": source, "window": "all", "positive_class": "dogs"}
    tree["sampler"] = {
        "assignment": "stable",
        "splits": {name: {"cats": share, "dogs": share} for name, share in SHARES.items()},
    }
    tree["trainer"] = {"model": "cnn", "image_size": 16, "epochs": 1}
    tree["evaluator"] = {"gates": GATES}
    tree["pusher"] = {"registry": REGISTRY}
    hook = {"name": "n", "env": {"OUTNUMBERED_WEBHOOK_URL": "url"}, "steps": ["Notifier"]}
    tree["kubeflow"] |= {
        "pipeline_root": f"s3://{ARTIFACTS}/{ROOT}",
        "volumes": [],
        "secrets": [*tree["kubeflow"]["secrets"], hook],
    }
    tree["notifications"] = {"webhook": {}}
    return tree


@pytest.fixture
def spans(tmp_path: Path) -> list[Path]:
    """The folders of two spans."""
    make_sample(tmp_path / "sample", images=165, side=32, random_state=5, workers=1)
    for path in (tmp_path / "sample" / "photos").glob("*/*"):
        span = "2" if path.stem.endswith(("3", "7")) else "1"
        target = tmp_path / "spans" / span / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return [tmp_path / "spans" / "1", tmp_path / "spans" / "2"]


@pytest.fixture
def receiver():
    with HttpReceiver() as found:
        yield found


def test_two_runs_of_a_schedule_read_new_images_only_and_replace_only_a_worse_champion(
    forking: Cluster,
    object_store: ObjectStore,
    settings: dict[str, Any],
    spans: list[Path],
    receiver: HttpReceiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    forking.claims = {}
    forking.secrets = {**forking.secrets, "n": {"url": receiver.url}}
    package = compile_pipeline(parse(settings, origin="test"), tmp_path / "loop.yaml")
    runs = []
    for span in spans:
        object_store.upload(span, PHOTOS, f"{PREFIX}/{span.name}")
        runs.append(forking.run(package, {}, pipeline_root=settings["kubeflow"]["pipeline_root"]))
    first, second = (report(object_store, run) for run in runs)
    new = sum(1 for path in spans[1].rglob("*") if path.is_file())
    assert [images_read(run) for run in runs] == [165 - new, new]
    assert [span["span"] for span in second["quarantine"]["data"]["spans"]] == ["1", "2"]
    assert second["sampling"]["ledger"]["carried_forward"] == 165 - new
    assert (first["champion"]["state"], second["champion"]["state"]) == ("first_model", "compared")
    assert [gate["passed"] for gate in second["gates"]] == [True, False]
    told = [json.loads(body) for _, _, body in receiver.requests]
    assert [each["outcome"] for each in told] == ["pushed", "not_blessed"]
    assert [each["reason"] for each in told] == [first["reason"], second["reason"]]
    assert (told[0]["version"], told[0]["model"]) == (1, f"{REGISTRY}/1")
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    assert open_registry(REGISTRY).state().serving == 1


def images_read(run: dict[str, Step]) -> int:
    return int(run["ImageExampleGen"].outputs["examples"]["metadata"]["images_read"])


def report(store: ObjectStore, run: dict[str, Step]) -> dict[str, Any]:
    return json.loads(store.read(run["Reporter"].outputs["report"]["uri"] + "/metrics.json"))
