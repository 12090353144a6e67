import csv
import json
import math

import numpy as np
import pytest
from scipy import special
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.evaluator.metrics import Costs
from components.study_reporter import quality, record

PREVALENCE = 1 / 11


def _scores(labels: np.ndarray, log_odds: np.ndarray) -> record.SplitScores:
    ids = np.array([f"{index:04d}" for index in range(labels.size)])
    rows = special.expit(np.atleast_2d(log_odds)).astype(np.float32)
    return record.SplitScores(ids, labels, labels.astype(str), rows)


def _simulated(*, slope: float = 1.0, shift: float = 0.0, images: int = 200_000):
    """Labels drawn from probabilities, and their log odds, times `slope` plus `shift`."""
    generator = np.random.default_rng(0)
    true = generator.normal(-1, 2, images)
    labels = (generator.random(images) < special.expit(true)).astype(np.int64)
    return labels, slope * true + shift


def test_the_slope_of_two_groups_is_the_difference_of_their_log_odds():
    """The closed form of a logistic regression on two values: each group's own log odds."""
    labels = np.repeat([1, 0, 1, 0], [30, 10, 20, 80])
    log_odds = np.repeat([0.5, 0.5, -1.5, -1.5], [30, 10, 20, 80])
    weights = np.where(labels == 1, 1.0, 3.0)
    expected = (np.log(30 / (3 * 10)) - np.log(20 / (3 * 80))) / 2
    assert quality.slope(labels, log_odds, weights) == pytest.approx(expected, rel=1e-6)


def test_the_intercept_of_equal_log_odds_is_their_distance_from_the_share():
    labels, log_odds = np.repeat([1, 0], [20, 60]), np.full(80, 0.7)
    found = quality.intercept(labels, log_odds, np.ones(80))
    assert found == pytest.approx(np.log(20 / 60) - 0.7, abs=1e-7)


@pytest.mark.parametrize("log_odds", [[-16.0] * 3 + [16.0], [16.0, 16.0, 16.0, -16.0], [9.0] * 4])
def test_the_intercept_makes_the_mean_probability_the_share_of_positives(log_odds):
    labels, weights = np.array([1, 0, 0, 0]), np.array([1.0, 5.0, 5.0, 5.0])
    found = quality.intercept(labels, np.array(log_odds), weights)
    mean = np.average(special.expit(np.array(log_odds) + found), weights=weights)
    assert mean == pytest.approx(1 / 16, abs=1e-7)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (2.0, 0.0), (0.5, 0.0), (1.0, 1.5)])
def test_slope_and_intercept_are_those_by_which_probabilities_were_distorted(slope, shift):
    labels, log_odds = _simulated(slope=slope, shift=shift)
    found = quality.figures(_scores(labels, log_odds), float(labels.mean()), quality.EQUAL_COSTS)
    assert found["slope"] == pytest.approx([1 / slope], rel=0.02)
    if slope == 1:
        assert found["intercept"] == pytest.approx([-shift], abs=0.02)


def test_negatives_are_weighted_to_the_prevalence():
    """At another prevalence, the right probabilities are those of the shifted log odds."""
    labels, log_odds = _simulated()
    share = float(labels.mean())
    shift = special.logit(PREVALENCE) - special.logit(share)
    found = quality.figures(_scores(labels, log_odds + shift), PREVALENCE, quality.EQUAL_COSTS)
    assert found["slope"] == pytest.approx([1], abs=0.02)
    assert found["intercept"] == pytest.approx([0], abs=0.02)


@pytest.mark.parametrize("log_odds", [[1.0, 2.0, -1.0, -2.0], [-1.0, -2.0, 1.0, 2.0], [0.5] * 4])
def test_sides_that_do_not_overlap_have_no_slope(log_odds):
    labels = np.array([1, 1, 0, 0])
    assert math.isnan(quality.slope(labels, np.array(log_odds), np.ones(4)))
    found = quality.figures(_scores(labels, np.array(log_odds)), 0.5, quality.EQUAL_COSTS)
    assert np.isfinite(found["intercept"]).all()
    assert quality.estimates(found)["slope"]["mean"] is None


def test_the_expected_cost_counts_errors_at_the_threshold_of_the_costs():
    # From a probability of 1 / (1 + 4) on, a false alarm is the cheaper error.
    costs = Costs(missed=4, false_alarm=1)
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    probabilities = np.array([0.9, 0.3, 0.25, 0.1, 0.5, 0.19, 0.1, 0.1, 0.1, 0.1], np.float32)
    found = quality.expected_cost(labels, probabilities, 0.2, costs)
    # A quarter of the positives is missed, a sixth of the negatives is a false alarm.
    assert found == pytest.approx(1000 * (4 * 0.2 / 4 + 0.8 / 6))
    equal = quality.expected_cost(labels, probabilities, 0.2, quality.EQUAL_COSTS)
    assert equal == pytest.approx(1000 * (0.2 * 3 / 4 + 0.8 / 6))


def test_images_that_a_replicate_did_not_predict_are_left_out():
    labels, log_odds = _simulated(images=500)
    whole = _scores(labels, np.stack([log_odds, log_odds]))
    whole.probabilities[1, ::3] = np.nan
    kept = np.arange(500) % 3 > 0
    part = _scores(labels[kept], log_odds[kept])
    found = quality.figures(whole, PREVALENCE, quality.EQUAL_COSTS)
    expected = quality.figures(part, PREVALENCE, quality.EQUAL_COSTS)
    for metric in quality.METRICS:
        assert found[metric][1] == expected[metric][0] != found[metric][0]


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("quality")
    arms = [ArmOnDisk("right"), ArmOnDisk("shifted", shift=3.0)]
    study = StudyOnDisk(root, arms, replicates=3).write()
    folder = study.report(
        prevalence=PREVALENCE, costs={"missed": 10, "false_alarm": 1}, comparisons="baseline"
    )
    return folder, json.loads((folder / "study.json").read_text(encoding="utf-8"))


def test_the_study_reports_means_and_deviations_before_and_after_calibration(reported):
    figures = reported[1]
    assert figures["costs"] == {"missed": 10, "false_alarm": 1}
    right, shifted = (arm["tests"]["test"]["calibration"] for arm in figures["arms"])
    moved = shifted["before"]["intercept"]["mean"] - right["before"]["intercept"]["mean"]
    assert moved == pytest.approx(-3, abs=0.5)
    assert abs(shifted["after"]["intercept"]["mean"]) < 1
    assert shifted["after"]["expected_cost"]["mean"] < shifted["before"]["expected_cost"]["mean"]
    for found in (right["before"], shifted["after"]):
        for metric in quality.METRICS:
            assert found[metric]["replicates"] == 3
            assert found[metric]["sd"] > 0


def test_the_table_of_runs_has_the_figures_of_each_replicate(reported):
    folder, figures = reported
    rows = list(csv.DictReader((folder / "runs.csv").open(encoding="utf-8")))
    for arm in figures["arms"]:
        found = arm["tests"]["test"]["calibration"]
        own = [row for row in rows if row["arm"] == arm["arm"]]
        for metric in quality.METRICS:
            for stage in ("before", "after"):
                values = [float(row[f"{metric}_{stage}"]) for row in own]
                assert np.mean(values) == pytest.approx(found[stage][metric]["mean"])


def test_the_page_names_the_costs_and_shows_the_figures(reported):
    folder, figures = reported
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert "where a missed image costs 10 and a false alarm 1, of calling positive what" in page
    assert "at least 0.0909." in page
    found = figures["arms"][1]["tests"]["test"]["calibration"]["before"]
    assert f"\N{MINUS SIGN}{abs(found['intercept']['mean']):.2f}<small>" in page
    assert f"{found['expected_cost']['mean']:.1f}<small>" in page
