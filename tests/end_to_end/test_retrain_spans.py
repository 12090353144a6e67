"""`outnumbered retrain` on data that grows by spans."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from command_line import Outcome, outnumbered

from pipeline import metadata_store
from pipeline.sample.dataset import make_sample

SPLITS = {"train": 0.5, "val": 0.25, "test": 0.25}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A sample in spans 1 and 2, and span 3 that is not there yet."""
    root = tmp_path_factory.mktemp("spans")
    make_sample(root / "sample", images=330, side=32, random_state=3, workers=2)
    for class_name in ("cats", "dogs"):
        for number, path in enumerate(sorted((root / "sample" / "photos" / class_name).iterdir())):
            span = "later/3" if number % 10 == 0 else f"photos/{1 + number % 2}"
            target = root / span / class_name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return root / "photos"


@pytest.fixture(scope="module")
def settings(photos, tmp_path_factory) -> Path:
    tree = {
        "name": "growing",
        "data": {"source": f"{photos}/{{SPAN}}", "window": "all", "positive_class": "dogs"},
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {
            "assignment": "stable",
            "splits": {name: {"cats": share, "dogs": share} for name, share in SPLITS.items()},
        },
        "trainer": {"model": "cnn", "image_size": 16, "epochs": 1},
        "evaluator": {"gates": ["recall >= 0.01"]},
    }
    path = tmp_path_factory.mktemp("settings") / "growing.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def turns(photos, settings, tmp_path_factory) -> tuple[Path, list[Outcome]]:
    """The output folder, and a turn before and after a span arrived."""
    output = tmp_path_factory.mktemp("grown") / "runs"
    outcomes = []
    for _ in range(2):
        outcomes.append(retrain(settings, output))
        if (later := photos.parent / "later" / "3").exists():
            later.rename(photos / "3")
    return output, outcomes


def retrain(settings: Path, output: Path, *options: str) -> Outcome:
    return outnumbered("retrain", "--settings", settings, "--output", output, "--json", *options)


def test_each_turn_reads_the_new_span_only_and_records_it(turns):
    output, outcomes = turns
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[-1].err
    first, second = (outcome.json for outcome in outcomes)
    assert (first["span"], first["spans"], first["images"]) == ("2", 2, 297)
    assert (second["span"], second["spans"], second["images"]) == ("3", 3, 330)
    assert images_read(output) == [297, 33]
    assert "read by earlier runs" in (output / second["run"] / "run.log").read_text()
    assert '<td>3<span class="more">of 3</span></td>' in (output / "history.html").read_text()


def images_read(output: Path) -> list[int]:
    found = metadata_store.connect(output).get_artifacts_by_type("Examples")
    values = [artifact.custom_properties["images_read"].int_value for artifact in found]
    return [value for value in values if value]


def test_no_image_of_the_first_turn_has_changed_its_split(turns):
    output, outcomes = turns
    first, second = (
        json.loads((output / outcome.json["run"] / "metrics.json").read_text())
        for outcome in outcomes
    )
    assert second["sampling"]["ledger"]["carried_forward"] == first["quarantine"]["accepted"]
    assert second["sampling"]["ledger"]["newcomers"] == 33


def test_the_pushed_version_has_a_fingerprint_of_each_span(turns):
    output, _ = turns
    data = json.loads((output / "registry" / "2" / "version.json").read_text())["data"]
    assert [(span["span"], span["images"]) for span in data["spans"]] == [
        ("1", 132),
        ("2", 165),
        ("3", 33),
    ]


def test_an_earlier_span_can_be_asked_for_and_one_that_does_not_exist_is_refused(turns, settings):
    output, _ = turns
    before = (output / "history.jsonl").read_bytes()
    outcome = retrain(settings, output, "--span", "7")
    assert outcome.code == 2
    assert "span 7 does not exist; there are 1, 2, 3" in outcome.err
    assert (output / "history.jsonl").read_bytes() == before
