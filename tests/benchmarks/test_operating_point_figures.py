"""The benchmark of promised figures finds optimism and intervals that are too narrow."""

import json

import numpy as np
import pytest

from benchmarks import operating_point
from benchmarks.operating_point import Case, World
from components.calibrator import promises, rules

# Few positives and an even balance, where the figures on val are much too good.
CASE = Case(World(2.0, 0.5), 20, rules.ALERTS_PER_THOUSAND)


def test_promised_figures_are_right_where_those_on_val_are_too_good():
    row = CASE.measure(40)
    assert row["reached"] == 1
    for name in ("f1", "recall"):
        assert row[name]["bias_on_val"] > 0.02
        assert abs(row[name]["bias"]) < 0.015
        assert row[name]["coverage"] > 0.88


def test_the_figures_of_val_as_a_promise_are_found_to_be_too_good(monkeypatch):
    monkeypatch.setattr(promises, "_depends_on_images", lambda *_: False)
    row = CASE.measure(40)
    assert row["f1"]["bias"] == pytest.approx(row["f1"]["bias_on_val"])
    assert row["f1"]["bias"] > 0.02


def test_a_floor_that_some_splits_do_not_reach_is_counted():
    row = Case(World(2.0, 0.01), 20, rules.RECALL_AT_PRECISION).measure(20)
    assert 0.5 < row["reached"] < 1


def test_the_true_figures_of_a_review_band_are_those_of_the_binormal_model():
    world = World(2.0, 0.1)
    whole = world.true_review(-10, 10)
    assert whole["share"] == pytest.approx(1)
    none = world.true_review(0.3, 0.3)
    true = world.true_values(np.array([0.3]))
    assert none["share"] == 0
    assert none["precision"] == pytest.approx(true["precision"][0])
    assert none["recall"] == none["recall_with_review"] == pytest.approx(true["recall"][0])


def test_the_last_line_is_json_by_figure(monkeypatch, capsys):
    monkeypatch.setattr(operating_point, "PREVALENCES", (0.5,))
    monkeypatch.setattr(operating_point, "POSITIVES", (20,))
    monkeypatch.setattr(operating_point, "DISTANCES", (2.0,))
    operating_point.main(["--trials", "2", "--workers", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 7 + 1
    found = json.loads(lines[-1])
    assert {"precision", "recall", "f1", "reviewed share"} <= found.keys()
    assert set(found["f1"]) == {"bias_on_val", "bias", "coverage", "lowest", "highest"}
    # Alerts on val are not kept in the operating point.
    assert "bias_on_val" not in found["alerts_per_thousand"]
