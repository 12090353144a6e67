"""What the networks of a study cost, against how well their arms do."""

import json
from types import SimpleNamespace

import pytest
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.study_reporter import frontier
from components.trainer.models import build_network
from components.trainer.network_cost import network_cost
from components.trainer.settings import TrainerSettings

MILLISECONDS = {"mobilenet": 5, "resnet50": 30, "xception": 50}


def _arm(name: str, f1: float | None, **settings) -> dict:
    tests = {"test": {"at_own": {"f1": {"mean": f1}}, "compared_at": None}}
    return {"arm": name, "settings": {"image_size": 96, **settings}, "tests": tests}


@pytest.fixture
def measured():
    """The settings that were measured, and the function that measures them."""
    seen = []

    def measure(settings):
        seen.append(settings.model)
        return SimpleNamespace(milliseconds=MILLISECONDS[settings.model], megabytes=1.0)

    return seen, measure


def test_an_arm_that_is_slower_and_no_better_is_not_on_the_frontier(measured):
    arms = [
        _arm("slow", 0.95, model="xception"),
        _arm("worse", 0.80, model="resnet50"),
        _arm("fast", 0.90, model="mobilenet"),
    ]
    rows = frontier.of_arms(arms, measured[1])
    assert [(row["arm"], row["on_frontier"]) for row in rows] == [
        ("fast", True),
        ("worse", False),
        ("slow", True),
    ]


def test_a_network_of_several_arms_is_measured_once(measured):
    arms = [
        _arm("one", 0.9, model="xception"),
        _arm("two", 0.9, model="xception", loss="focal"),
        _arm("three", 0.9, model="mobilenet"),
    ]
    assert len(frontier.of_arms(arms, measured[1])) == 3
    assert measured[0] == ["xception", "mobilenet"]


def test_arms_with_one_model_are_not_measured(measured):
    arms = [_arm("one", 0.9, model="xception"), _arm("two", 0.9, model="xception")]
    assert frontier.of_arms(arms, measured[1]) == []
    assert measured[0] == []


def test_an_arm_without_figures_has_no_row(measured):
    arms = [_arm("one", 0.9, model="xception"), _arm("two", None, model="mobilenet")]
    rows = frontier.of_arms([*arms, {**arms[0], "arm": "diverged", "tests": {}}], measured[1])
    assert [(row["arm"], row["on_frontier"]) for row in rows] == [("two", False), ("one", True)]


def test_a_network_costs_its_weights_and_its_cpu_time():
    small, large = (TrainerSettings(model="cnn", image_size=size) for size in (16, 128))
    one, other = network_cost(small), network_cost(large)
    assert other.megabytes == pytest.approx(build_network(large).full.count_params() * 4e-6)
    assert 0 < one.milliseconds < other.milliseconds


def test_the_report_has_the_costs_if_the_arms_have_several_models(tmp_path):
    arms = [
        ArmOnDisk("cnn", settings={"model": "cnn", "image_size": 32}),
        ArmOnDisk("mobilenet", settings={"model": "mobilenet", "image_size": 32}),
    ]
    folder = StudyOnDisk(tmp_path / "arms", arms).write().report()
    rows = json.loads((folder / "study.json").read_text())["frontier"]
    assert {row["model"] for row in rows} == {"cnn", "mobilenet"}
    page = (folder / "study.html").read_text()
    assert "What the networks cost" in page
    for row in rows:
        assert f"{row['megabytes']:.1f}</td>" in page


def test_a_report_of_one_model_has_no_costs(shifted):
    _, folder, figures = shifted
    assert figures["frontier"] == []
    assert "What the networks cost" not in (folder / "study.html").read_text()
