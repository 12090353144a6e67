import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.study_reporter import scores
from components.study_reporter.record import SplitScores


@pytest.fixture(scope="module")
def found():
    """Probabilities of four replicates, with ties, on 30 positives and 120 negatives."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [30, 120])
    rows = np.round(np.clip(rng.normal(0.3 + 0.3 * labels, 0.2, (4, 150)), 0, 0.99), 2)
    names = np.where(labels == 1, "dogs", "cats")
    ids = np.array([f"{index:03d}" for index in range(150)])
    return SplitScores(ids, labels, names, rows.astype(np.float32))


def test_metrics_equal_those_of_scikit_learn(found):
    at_half = scores.at_thresholds(found, [0.5] * 4)
    free = scores.threshold_free(found)
    for row, probabilities in enumerate(found.probabilities):
        predicted = probabilities >= np.float32(0.5)
        tn, fp, fn, tp = sklearn_metrics.confusion_matrix(found.labels, predicted).ravel()
        assert [at_half[name][row] for name in ("tp", "fp", "tn", "fn")] == [tp, fp, tn, fn]
        expected = {
            "precision": sklearn_metrics.precision_score(found.labels, predicted),
            "recall": sklearn_metrics.recall_score(found.labels, predicted),
            "f1": sklearn_metrics.f1_score(found.labels, predicted),
            "accuracy": sklearn_metrics.accuracy_score(found.labels, predicted),
        }
        for name, value in expected.items():
            assert at_half[name][row] == pytest.approx(value)
        area = sklearn_metrics.average_precision_score(found.labels, probabilities)
        assert free["pr_auc"][row] == pytest.approx(area)
        clipped = np.clip(probabilities.astype(float), 1e-7, 1 - 1e-7)
        assert free["loss"][row] == pytest.approx(sklearn_metrics.log_loss(found.labels, clipped))


def test_precision_is_undefined_without_positive_predictions(found):
    values = scores.at_thresholds(found, [0.5, 1.0, 1.0, 0.5])
    assert np.isnan(values["precision"]).tolist() == [False, True, True, False]
    assert values["f1"][1] == 0
    assert scores.estimates(values)["precision"]["replicates"] == 2


def test_the_loss_of_certain_but_wrong_predictions_is_finite():
    loss = scores.cross_entropy(np.array([1, 0]), np.array([0, 1], np.float32))
    assert loss == pytest.approx(-math.log(1e-7))


def test_an_estimate_is_the_mean_with_a_t_interval():
    values = [0.80, 0.84, 0.83, 0.90]
    estimate = scores.estimate(values)
    assert estimate["mean"] == pytest.approx(np.mean(values))
    assert estimate["sd"] == pytest.approx(np.std(values, ddof=1))
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert estimate["interval"] == pytest.approx(expected)
    assert estimate["replicates"] == 4


def test_an_interval_is_clipped_to_the_range_of_the_metric():
    assert scores.estimate([0.9, 1.0, 1.0])["interval"][1] == 1
    assert scores.estimate([0.0, 0.0, 0.2])["interval"][0] == 0
    assert scores.estimate([90.0, 100.0], upper=math.inf)["interval"][1] > 100


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7], {"mean": 0.7, "sd": None, "interval": None, "replicates": 1}),
        ([], {"mean": None, "sd": None, "interval": None, "replicates": 0}),
        ([1.0, 1.0, 1.0], {"mean": 1.0, "sd": 0.0, "interval": None, "replicates": 3}),
        ([math.nan], {"mean": None, "sd": None, "interval": None, "replicates": 0}),
    ],
)
def test_fewer_than_two_different_replicates_have_no_interval(values, expected):
    assert scores.estimate(values) == expected


def test_pooled_counts_are_the_sums_over_replicates(found):
    thresholds = [0.01, 0.3, 0.57, 0.99]
    pooled = scores.pooled(found, thresholds)
    for index, threshold in enumerate(thresholds):
        values = scores.at_thresholds(found, [threshold] * 4)
        for name in scores.COUNTS:
            assert pooled[name][index] == values[name].sum()


def test_own_thresholds_are_chosen_on_val_and_compensate_a_shift(tmp_path):
    arms = [ArmOnDisk("plain"), ArmOnDisk("shifted", shift=3)]
    plain, shifted = StudyOnDisk(tmp_path, arms, replicates=4).write().read()
    logit = [
        np.log(own / (1 - own))
        for own in (scores.own_thresholds(arm, None) for arm in (plain, shifted))
    ]
    assert np.mean(logit[1]) - np.mean(logit[0]) == pytest.approx(3, abs=0.7)


def test_with_a_prevalence_own_thresholds_do_not_depend_on_the_balance_of_val(tmp_path):
    splits = {"train": (9, 9), "val": (200, 2000), "balanced": (200, 200), "test": (100, 1000)}
    arms = [ArmOnDisk("a", skill=4), ArmOnDisk("b", skill=4, val_split="balanced")]
    study = StudyOnDisk(tmp_path, arms, splits=splits, replicates=4).write()
    own, weighted = (
        [np.mean(scores.own_thresholds(arm, prevalence)) for arm in study.read()]
        for prevalence in (None, 1 / 11)
    )
    assert own[0] - own[1] > 0.2
    assert weighted[0] == pytest.approx(own[0])
    assert weighted[1] == pytest.approx(own[0], abs=0.07)


def test_precision_decreases_with_the_prevalence(found):
    values = scores.at_thresholds(found, [0.5] * 4)
    own = scores.at_prevalence(values, 30 / 150)
    assert own["precision"] == pytest.approx(values["precision"])
    assert own["f1"] == pytest.approx(values["f1"])
    assert (scores.at_prevalence(values, 0.02)["precision"] < own["precision"]).all()
