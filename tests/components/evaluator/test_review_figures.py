import math

import numpy as np
import pytest

from components.evaluator import metrics, review
from components.evaluator.metrics import Costs

LABELS = np.array([1] * 10 + [0] * 90)
CALLED = np.array([1] * 7 + [0] * 3 + [1] * 9 + [0] * 81)
# Of the positives called positive 2 are reviewed, of the others 1; of the negatives 3 and 4.
REVIEW = np.zeros(100, int)
REVIEW[[0, 1, 7, 10, 11, 12, 50, 51, 52, 53]] = 1


def test_reviewed_images_are_in_no_figure_of_the_decided_ones():
    found = review.figures(review.count(LABELS, CALLED, REVIEW), 0.1, seed=0)
    decided = REVIEW == 0
    expected = metrics.rates(metrics.confusion(LABELS[decided], CALLED[decided]))
    for name in ("precision", "recall", "f1"):
        assert found[name] == pytest.approx(expected[name])
    assert found["share"] == pytest.approx(0.1)
    # 5 found by the model and 3 left to the person, of 10.
    assert found["recall_with_review"] == pytest.approx(0.8)
    assert found["alerts_per_thousand"] == pytest.approx(110)
    assert math.isnan(found["expected_cost"])
    assert found["intervals"]["expected_cost"] is None


def test_the_figures_are_weighted_to_the_prevalence():
    sides = review.count(LABELS, CALLED, REVIEW)
    found = review.figures(sides, 0.01, seed=0, costs=Costs(missed=50, false_alarm=1))
    hits, missed, alarms = 0.01 * 0.5, 0.01 * 0.2, 0.99 * 6 / 90
    assert found["share"] == pytest.approx(0.01 * 0.3 + 0.99 * 7 / 90)
    assert found["precision"] == pytest.approx(hits / (hits + alarms))
    assert found["recall"] == pytest.approx(5 / 7)
    assert found["alerts_per_thousand"] == pytest.approx(1000 * (hits + alarms))
    assert found["expected_cost"] == pytest.approx(1000 * (50 * missed + alarms))
    for name, (low, high) in found["intervals"].items():
        assert low < found[name] < high


def test_without_reviewed_images_the_figures_are_those_of_all():
    sides = review.count(LABELS, CALLED, np.zeros(100))
    found = review.figures(sides, 0.1, seed=0)
    expected = metrics.rates(metrics.confusion(LABELS, CALLED))
    for name in ("precision", "recall", "f1"):
        assert found[name] == pytest.approx(expected[name])
    assert found["recall_with_review"] == pytest.approx(found["recall"])
    assert found["share"] == 0
    assert found["intervals"]["share"][1] > 0.005


def test_a_figure_without_images_is_undefined():
    found = review.figures(review.count(LABELS, np.zeros(100), LABELS), 0.1, seed=0)
    assert math.isnan(found["precision"])
    assert math.isnan(found["recall"])
    assert found["intervals"]["precision"] is found["intervals"]["recall"] is None
    assert found["recall_with_review"] == 1


def test_the_intervals_contain_the_true_values_in_95_percent():
    rng = np.random.default_rng(0)
    shares = np.array([[0.7, 0.1, 0.2], [0.05, 0.1, 0.85]])
    hits, alarms, missed = 0.1 * 0.7, 0.9 * 0.05, 0.1 * 0.2
    true = {
        "share": 0.1,
        "precision": hits / (hits + alarms),
        "recall": hits / (hits + missed),
        "recall_with_review": 0.8,
        "alerts_per_thousand": 1000 * (hits + alarms),
    }
    inside = dict.fromkeys(true, 0)
    for _ in range(300):
        positives, negatives = rng.multinomial(40, shares[0]), rng.multinomial(100, shares[1])
        sides = review.Sides(*positives[:2], 40, *negatives[:2], 100)
        found = review.figures(sides, 0.1, seed=0)["intervals"]
        for name, value in true.items():
            inside[name] += found[name][0] <= value <= found[name][1]
    assert all(0.92 < count / 300 < 0.985 for count in inside.values()), inside
