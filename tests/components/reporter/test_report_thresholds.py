import numpy as np
import pytest

from components.evaluator import metrics
from components.reporter import thresholds

COSTS = {"missed": 50, "false_alarm": 2}


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [300, 20_000])
    return labels, rng.beta(1 + 3 * labels, 4 - 2 * labels).astype(np.float32)


def test_counts_are_those_of_the_metrics_at_each_threshold(scored):
    found = thresholds.count(*scored, threshold=0.4321)
    assert len(found.thresholds) <= 199
    assert np.all(np.diff(found.thresholds) > 0)
    assert found.thresholds[found.start] == np.float32(0.4321)
    for threshold, tp, fp in zip(
        found.thresholds, found.true_positives, found.false_positives, strict=True
    ):
        counts = metrics.confusion(scored[0], metrics.is_positive(scored[1], threshold))
        assert (counts.tp, counts.fp) == (tp, fp)


def test_the_thresholds_reach_from_the_first_alarm_to_the_last_positive(scored):
    found = thresholds.count(*scored, threshold=0.5)
    assert found.true_positives[0] == 300
    assert np.diff(found.true_positives).min() >= -4
    assert found.false_positives[-1] <= 1


@pytest.mark.parametrize("prevalence", [300 / 20_300, 0.001, 0.5])
def test_figures_are_those_of_the_metrics_at_the_prevalence(scored, prevalence):
    found = thresholds.count(*scored, threshold=0.6)
    figures = found.at(found.start, prevalence, COSTS)
    counts = metrics.confusion(scored[0], metrics.is_positive(scored[1], 0.6))
    expected = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, prevalence)
    for name in ("recall", "precision", "f1"):
        assert figures[name] == pytest.approx(float(expected[name]), rel=1e-12)
    assert figures["tp"] + figures["fn"] == pytest.approx(1000 * prevalence)
    assert figures["fp"] + figures["tn"] == pytest.approx(1000 * (1 - prevalence))
    assert figures["alerts"] == pytest.approx(figures["tp"] + figures["fp"])
    assert figures["cost"] == pytest.approx(50 * figures["fn"] + 2 * figures["fp"])


def test_without_alarms_and_costs_their_figures_are_undefined(scored):
    found = thresholds.count(*scored, threshold=1.0)
    figures = found.at(found.start, 0.1, None)
    assert (figures["precision"], figures["cost"]) == (None, None)
    assert (figures["alerts"], figures["f1"], figures["recall"]) == (0, 0, 0)


def test_a_model_with_one_score_has_one_threshold_besides_its_own():
    found = thresholds.count(np.array([1, 0, 0]), np.full(3, 0.25, np.float32), threshold=0.5)
    assert found.thresholds.tolist() == [0.25, 0.5]
    assert found.true_positives.tolist() == [1, 0]
    assert found.false_positives.tolist() == [2, 0]


def test_the_json_has_the_same_float32_thresholds_and_plain_counts(scored):
    found = thresholds.count(*scored, threshold=0.4321)
    data = found.to_json({"world": 0.1}, COSTS)
    assert np.array_equal(np.array(data["thresholds"], np.float32), found.thresholds)
    assert {type(count) for count in data["tp"] + data["fp"]} == {int}
    assert data["start"] == found.start
    assert data["costs"] == COSTS
    assert found.to_json({"world": 0.1}, None)["costs"] is None
