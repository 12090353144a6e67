import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from components.evaluator import intervals, metrics
from components.evaluator.metrics import Confusion


def scored(seed=0, positives=60, negatives=600):
    """Labels and probabilities with many ties, in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    return labels, np.round(rng.beta(1 + 2 * labels, 3 - labels), 2).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.1, 0.7])  # As a double below and above its float32.
def test_the_threshold_itself_is_positive_in_the_models_own_precision(threshold):
    at, below = np.float32(threshold), np.nextafter(np.float32(threshold), np.float32(0))
    assert metrics.is_positive(np.array([at, below]), threshold).tolist() == [True, False]


def test_the_four_outcomes_are_counted():
    counts = metrics.confusion([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert counts == Confusion(tp=2, fp=1, tn=3, fn=1)


def test_rates_equal_scikit_learns():
    labels, scores = scored()
    called = scores >= 0.5
    found = metrics.rates(metrics.confusion(labels, called))
    assert found["recall"] == pytest.approx(sklearn_metrics.recall_score(labels, called))
    assert found["precision"] == pytest.approx(sklearn_metrics.precision_score(labels, called))
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, called))
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, called))


def test_precision_of_a_model_that_never_fires_is_undefined():
    found = metrics.rates(Confusion(tp=0, fp=0, tn=9, fn=1))
    assert math.isnan(found["precision"])
    assert found["recall"] == found["f1"] == 0


def test_areas_under_the_curves_equal_scikit_learns_with_ties():
    labels, scores = scored()
    points = metrics.curve(labels, scores)
    pr_auc = sklearn_metrics.average_precision_score(labels, scores)
    assert metrics.average_precision(points) == pytest.approx(pr_auc, abs=1e-12)
    roc_auc = sklearn_metrics.roc_auc_score(labels, scores)
    assert metrics.roc_auc(points) == pytest.approx(roc_auc, abs=1e-12)


def test_a_curve_of_one_class_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        metrics.curve([1, 1], [0.1, 0.2])


def test_at_the_splits_own_balance_nothing_changes():
    labels, scores = scored(positives=60, negatives=600)
    counts = metrics.confusion(labels, scores >= 0.5)
    mixed = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, 1 / 11)
    assert mixed == {name: pytest.approx(rate) for name, rate in metrics.rates(counts).items()}
    points = metrics.curve(labels, scores)
    assert metrics.average_precision(points, 1 / 11) == pytest.approx(
        metrics.average_precision(points)
    )


def test_figures_at_prevalence_are_those_of_a_split_with_more_negatives():
    labels, scores = scored()
    tenfold = np.concatenate([labels, *[labels[labels == 0]] * 9])
    scores_tenfold = np.concatenate([scores, *[scores[labels == 0]] * 9])
    counts = metrics.confusion(labels, scores >= 0.5)
    mixed = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, 60 / 6060)
    truth = metrics.rates(metrics.confusion(tenfold, scores_tenfold >= 0.5))
    assert mixed == {name: pytest.approx(rate) for name, rate in truth.items()}
    assert metrics.average_precision(metrics.curve(labels, scores), 60 / 6060) == pytest.approx(
        sklearn_metrics.average_precision_score(tenfold, scores_tenfold)
    )


@pytest.mark.parametrize("prevalence", [0, 1, -0.1])
def test_a_prevalence_that_is_no_share_is_refused(prevalence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.rates_at_prevalence(0.5, 0.5, prevalence)


def test_wilsons_interval_equals_published_values():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert intervals.wilson(0, 0) is None


def test_bootstrap_intervals_hold_the_estimate_and_narrow_with_more_images():
    widths = []
    for scale in (1, 16):
        labels, scores = scored(positives=60 * scale, negatives=600 * scale)
        low, high = intervals.of_average_precision(labels, scores, seed=1)
        assert low < metrics.average_precision(metrics.curve(labels, scores)) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_the_average_precision_interval_equals_a_plain_loop_of_redraws():
    labels, scores = scored()
    rng = np.random.default_rng(5)
    positives, negatives = scores[labels == 1], scores[labels == 0]
    truth = np.repeat([1, 0], [positives.size, negatives.size])
    drawn = [
        sklearn_metrics.average_precision_score(
            truth, np.concatenate([rng.choice(side, side.size) for side in (positives, negatives)])
        )
        for _ in range(1000)
    ]
    expected = np.quantile(drawn, [0.025, 0.975])
    found = intervals.of_average_precision(labels, scores, seed=0)
    assert found == pytest.approx(tuple(expected), abs=0.02)


def test_intervals_depend_on_the_seed_and_not_on_the_order_of_rows():
    labels, scores = scored()
    first = intervals.of_average_precision(labels, scores, seed=0)
    assert intervals.of_average_precision(labels[::-1], scores[::-1], seed=0) == first
    assert intervals.of_average_precision(labels, scores, seed=1) != first


def test_the_f1_interval_holds_f1():
    counts = Confusion(tp=80, fp=30, tn=970, fn=20)
    low, high = intervals.of_f1(counts, seed=0)
    assert low < metrics.rates(counts)["f1"] < high
    assert high - low < 0.15


def test_no_false_alarm_does_not_promise_perfect_precision_at_prevalence():
    counts = Confusion(tp=90, fp=0, tn=1000, fn=10)
    low, high = intervals.at_prevalence(counts, 0.001, seed=0)["precision"]
    assert low < 0.5
    assert high > 0.99


def test_the_average_precision_interval_is_that_of_the_prevalence_asked_for():
    labels, scores = scored()
    rarer = 60 / 6060
    low, high = intervals.of_average_precision(labels, scores, seed=0, prevalence=rarer)
    assert low < metrics.average_precision(metrics.curve(labels, scores), rarer) < high
    own = intervals.of_average_precision(labels, scores, seed=0)
    assert intervals.of_average_precision(
        labels, scores, seed=0, prevalence=60 / 660
    ) == pytest.approx(own)
