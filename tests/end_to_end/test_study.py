"""`outnumbered study`: from images to a comparison of arms, in one command."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from command_line import FinishedRun, outnumbered

FROZEN = {"model": "xception", "weights": "none", "image_size": 71}
ARMS: list[dict[str, Any]] = [
    {"name": "cnn", "train": "train_rare"},
    {"name": "frozen", "train": "train_rare", "trainer": FROZEN},
    {
        "name": "wild",
        "train": "train_even",
        "trainer": FROZEN
        | {"optimizer": "adam", "class_weight": {"positive": 1e38, "negative": 1e38}},
    },
]


@pytest.fixture(scope="module")
def write_study(sample: Path, tmp_path_factory: pytest.TempPathFactory):
    """Writes the settings of a small study and returns their path."""

    def write(**changes: Any) -> Path:
        tree = {
            "name": "study-small",
            "data": {
                "source": str(sample),
                "manifest": str(sample / "manifest.csv"),
                "positive_class": "dogs",
                "max_bad_fraction": 0.05,
            },
            "population": {"prevalence": {"cats": 10, "dogs": 1}},
            "sampler": {
                "splits": {
                    "train_even": {"cats": 20, "dogs": 20},
                    "train_rare": {"cats": 80, "dogs": 16},
                    "val": {"cats": 80, "dogs": 16},
                    "test": {"cats": 160, "dogs": 24},
                }
            },
            "trainer": {"model": "cnn", "image_size": 16, "epochs": 2},
            "arms": ARMS,
            "replicates": 2,
        }
        path = tmp_path_factory.mktemp("studies") / "study.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path

    return write


@pytest.fixture(scope="module")
def studied(write_study, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The first run of the study, at half its size."""
    output = tmp_path_factory.mktemp("study") / "runs"
    outcome = outnumbered(
        *("study", "--settings", write_study(), "--scale", 0.5, "--output", output, "--json")
    )
    assert outcome.code == 0, outcome.err
    return FinishedRun(output, outcome, outcome.json)


def test_every_arm_is_evaluated_on_the_scaled_test_split(studied: FinishedRun):
    assert list(studied.result["arms"]) == ["cnn", "frozen", "wild"]
    rows = pd.read_parquet(studied.output / "latest/predictions.parquet")
    counts = rows.groupby(["arm", "replicate", "split"]).size()
    for arm in ("cnn", "frozen"):
        for replicate in (0, 1):
            assert counts[arm, replicate, "test"] == 92
            assert counts[arm, replicate, "val"] == 48


def test_the_figures_are_those_of_the_kept_predictions(studied: FinishedRun):
    rows = pd.read_parquet(studied.output / "latest/predictions.parquet")
    test = rows.query("arm == 'frozen' and split == 'test'")
    called = test["probability"] >= 0.5
    recall = called[test["label"] == 1].groupby(test["replicate"]).mean().mean()
    found = studied.result["arms"]["frozen"]["tests"]["test"]["at_0.5"]["recall"]
    assert found == pytest.approx(recall)


def test_a_diverging_arm_is_reported_and_does_not_affect_the_others(studied: FinishedRun):
    wild = studied.result["arms"]["wild"]
    assert (wild["trained"], wild["diverged"], wild["tests"]) == (0, 2, {})
    assert studied.result["arms"]["cnn"]["trained"] == 2


def test_latest_has_the_report_the_figures_and_every_run(studied: FinishedRun):
    latest = studied.output / "latest"
    assert {path.name for path in latest.iterdir()} == {
        *("study.html", "study.json", "runs.csv", "predictions.parquet"),
        *("settings.yaml", "run.log"),
    }
    runs = pd.read_csv(latest / "runs.csv")
    assert len(runs) == 6
    assert sorted(runs["status"].unique()) == ["diverged", "trained"]
    assert json.loads((latest / "study.json").read_text())["settings"]["replicates"] == 2


def test_frozen_arms_share_their_features(studied: FinishedRun):
    # Including the images of the arm on pixels: splits are drawn once for all arms.
    (store,) = (studied.output / "features").iterdir()
    kept = [line for part in store.glob("*.ids") for line in part.read_text().splitlines()]
    assert len(kept) == len(set(kept)) == 20 + 48 + 48 + 92


def test_only_an_added_arm_is_trained(studied: FinishedRun, write_study):
    added = {"name": "even", "train": "train_even", "trainer": FROZEN}
    again = outnumbered(
        *("study", "--settings", write_study(arms=[*ARMS, added])),
        *("--scale", 0.5, "--output", studied.output, "--json"),
    )
    assert again.code == 0, again.err
    trained = [
        line.split(":")[0]
        for line in again.err.splitlines()
        if line.startswith(("Trainer", "Feature")) and ": done" in line
    ]
    assert trained == ["Trainer.even"]
    before, after = studied.result["arms"], again.json["arms"]
    assert {name: after[name] for name in before} == before
    assert after["even"]["trained"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scale", "0.01"), "no positive image"),
        (("--set", "replicates=0"), "replicates"),
        (("--set", "trainer.model=resnet"), "trainer.model"),
        (("--set", "sampler.splits.test.cats=5000"), "asks for 5000"),
        (("--set", "data.source=nowhere"), "nowhere"),
        (("--set", "notifications.slack={}"), "OUTNUMBERED_SLACK_URL"),
        (
            tuple(
                f"--set=trainer.{key}"
                for key in ("model=xception", "image_size=71", "weights=x.h5")
            ),
            "Received: 'x.h5'",
        ),
    ],
)
def test_invalid_use_is_reported_and_nothing_is_created(
    write_study, tmp_path: Path, options, message
):
    outcome = outnumbered(
        *("study", "--settings", write_study(), "--output", tmp_path / "runs", "--json", *options)
    )
    assert outcome.code == 2
    assert message in outcome.json["error"]
    assert not (tmp_path / "runs").exists()
