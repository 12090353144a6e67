import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from benchmarks.intervals import METRICS, Model
from components.evaluator import intervals, metrics
from components.evaluator.metrics import Confusion


def scored(seed=0, positives=60, negatives=600):
    """Makes labels and probabilities with many ties, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    return labels, np.round(rng.beta(1 + 2 * labels, 3 - labels), 2).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.1, 0.7])  # In float64 below and above its float32.
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


def test_precision_is_undefined_without_positive_predictions():
    found = metrics.rates(Confusion(tp=0, fp=0, tn=9, fn=1))
    assert math.isnan(found["precision"])
    assert found["recall"] == found["f1"] == 0


def test_a_curve_has_one_point_for_each_distinct_score():
    points = metrics.curve([1, 0, 1, 0, 0], np.array([0.9, 0.8, 0.8, 0.3, 0.1], np.float32))
    assert points.recall.tolist() == [0.5, 1, 1, 1]
    assert points.precision == pytest.approx([1, 2 / 3, 2 / 4, 2 / 5])
    # Each of the data's three negatives represents four in the population.
    rarer = metrics.curve([1, 0, 1, 0, 0], [0.9, 0.8, 0.8, 0.3, 0.1], 2 / 14)
    assert rarer.precision == pytest.approx([1, 2 / 6, 2 / 10, 2 / 14])


def test_scores_that_differ_in_the_last_bit_of_float32_are_not_tied():
    low = np.float32(0.9)
    scores = np.array([np.nextafter(low, np.float32(1)), low], np.float32)
    assert metrics.average_precision([1, 0], scores) == 1
    assert metrics.average_precision([0, 1], scores) == 0.5
    assert metrics.roc_auc([0, 1], scores) == 0


def test_a_curve_of_one_class_is_refused():
    for area in (metrics.curve, metrics.average_precision, metrics.roc_auc):
        with pytest.raises(ValueError, match="both classes"):
            area([1, 1], [0.1, 0.2])


def test_at_the_splits_own_prevalence_metrics_are_unchanged():
    labels, scores = scored(positives=60, negatives=600)
    counts = metrics.confusion(labels, scores >= 0.5)
    mixed = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, 1 / 11)
    assert mixed == {name: pytest.approx(rate) for name, rate in metrics.rates(counts).items()}
    assert metrics.average_precision(labels, scores, 1 / 11) == pytest.approx(
        metrics.average_precision(labels, scores)
    )


def test_metrics_at_prevalence_are_those_of_a_split_with_more_negatives():
    labels, scores = scored()
    tenfold = np.concatenate([labels, *[labels[labels == 0]] * 9])
    scores_tenfold = np.concatenate([scores, *[scores[labels == 0]] * 9])
    counts = metrics.confusion(labels, scores >= 0.5)
    mixed = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, 60 / 6060)
    truth = metrics.rates(metrics.confusion(tenfold, scores_tenfold >= 0.5))
    assert mixed == {name: pytest.approx(rate) for name, rate in truth.items()}
    assert metrics.average_precision(labels, scores, 60 / 6060) == pytest.approx(
        sklearn_metrics.average_precision_score(tenfold, scores_tenfold)
    )


@pytest.mark.parametrize("prevalence", [0, 1, 1.5, -0.1, float("nan")])
def test_a_prevalence_out_of_range_is_refused(prevalence):
    with pytest.raises(ValueError, match="above 0 and below 1; set population"):
        metrics.rates_at_prevalence(0.5, 0.5, prevalence)


def test_wilsons_interval_equals_published_values():
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert intervals.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert intervals.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert intervals.wilson(0, 0) is None


@pytest.mark.parametrize("prevalence", [None, 60 / 6060])
def test_intervals_of_areas_contain_the_estimate_and_narrow_with_more_images(prevalence):
    widths = []
    for scale in (1, 16):
        labels, scores = scored(positives=60 * scale, negatives=600 * scale)
        found = intervals.of_areas(labels, scores, seed=1, prevalence=prevalence)
        low, high = found["pr_auc"]
        assert low < metrics.average_precision(labels, scores, prevalence) < high
        widths.append(high - low)
        low, high = found["auc"]
        assert low < metrics.roc_auc(labels, scores) < high
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_drawn_areas_equal_scikit_learns_on_weighted_images():
    labels, scores = scored(positives=8, negatives=40)
    truth = labels == 1
    ((recall, alarms),) = intervals._drawn_curves(truth, scores, 0)
    rng = np.random.default_rng(0)
    weights = rng.standard_exponential((1000, labels.size))
    halves = rng.standard_gamma(0.5, (1000, 4))
    whole = np.append(labels, [1, 0, 1, 0]), np.append(scores, [2, 2, -2, -2])
    expected = [
        sklearn_metrics.average_precision_score(*whole, sample_weight=np.append(*pair))
        for pair in zip(weights, halves, strict=True)
    ]
    # The draws are normalized per class; scikit-learn's weights have means of 8 and 40.
    drawn = intervals._areas(recall, alarms, odds=[5])[0]
    assert np.mean(drawn) == pytest.approx(np.mean(expected), abs=0.02)
    assert np.std(drawn) == pytest.approx(np.std(expected), abs=0.02)


def test_intervals_depend_on_the_seed_but_not_on_the_order_of_rows():
    labels, scores = scored()
    first = intervals.of_areas(labels, scores, seed=0)
    assert intervals.of_areas(labels[::-1], scores[::-1], seed=0) == first
    assert intervals.of_areas(labels, scores, seed=1) != first


@pytest.mark.parametrize("positives", [1, 5, 20])
def test_intervals_of_perfect_counts_are_about_as_wide_as_that_of_recall(positives):
    counts = Confusion(tp=positives, fp=0, tn=10 * positives, fn=0)
    rates = intervals.at_prevalence(counts, 1 / 11, seed=0)
    labels = np.repeat([1, 0], [positives, 10 * positives])
    areas = intervals.of_areas(labels, labels.astype(float), seed=0)
    floor, _ = rates["recall"]
    assert {**rates, **areas}["recall"] == intervals.wilson(positives, positives)
    for bounds in (rates["precision"], rates["f1"], rates["accuracy"], *areas.values()):
        assert bounds[1] == 1
        # Accuracy has the highest bound: one image in eleven is positive.
        assert bounds[0] < 1 - (1 - floor) / 12
    # F1 at that recall without a false positive, and slightly lower for possible ones.
    assert 0.7 * floor < rates["f1"][0] < 2 * floor / (1 + floor)
    assert areas["pr_auc"][0] < (1 + floor) / 2


@pytest.mark.parametrize("distance", [1.5, 4])
def test_intervals_have_coverage_at_one_to_twenty_positives(distance):
    model = Model(distance)
    held = [model.coverage(positives, 10 * positives, trials=60) for positives in (1, 2, 5, 20)]
    for name in METRICS:
        shares = [each[name] for each in held]
        assert min(shares) >= (0.9 if name in ("pr_auc", "auc") else 0.8), name
        assert np.mean(shares) >= 0.9, name


def test_the_f1_interval_contains_f1():
    counts = Confusion(tp=80, fp=30, tn=970, fn=20)
    low, high = intervals.at_prevalence(counts, 100 / 1100, seed=0)["f1"]
    assert low < metrics.rates(counts)["f1"] < high
    assert high - low < 0.15


def test_without_false_positives_precision_at_prevalence_is_still_uncertain():
    counts = Confusion(tp=90, fp=0, tn=1000, fn=10)
    low, high = intervals.at_prevalence(counts, 0.001, seed=0)["precision"]
    assert low < 0.5
    assert high == 1


def test_without_false_positives_among_few_images_the_interval_includes_a_perfect_model():
    """Of models with 2 of 3 positives and all 3 negatives correct, most are nearly perfect."""
    counts = Confusion(tp=2, fp=0, tn=3, fn=1)
    found = intervals.at_prevalence(counts, 1 / 11, seed=0)
    assert found["precision"][1] == 1
    assert found["f1"][1] > 0.95
    assert found["accuracy"][1] > 0.99


def test_an_undefined_metric_has_no_interval():
    counts = Confusion(tp=0, fp=0, tn=50, fn=5)
    assert intervals.at_prevalence(counts, 0.1, seed=0)["precision"] is None
    assert intervals.of_rates(counts)["precision"] is None
    assert intervals.at_prevalence(counts, 0.1, seed=0)["f1"][0] == 0


def test_a_slice_keeps_its_share_of_positives_and_may_have_one_class():
    both = Confusion(tp=8, fp=3, tn=27, fn=2)
    found = intervals.of_slice(both, share=0.1, seed=0)
    assert found.keys() == {*intervals.of_rates(both), "f1"}
    assert found.items() <= intervals.at_prevalence(both, 0.1, seed=0).items()
    own = intervals.of_slice(both, seed=0)
    assert own == intervals.of_rates(both) | {
        "f1": intervals.at_prevalence(both, 0.25, seed=0)["f1"]
    }
    negatives = Confusion(tp=0, fp=3, tn=27, fn=0)
    found = intervals.of_slice(negatives, share=0.0, seed=0)
    assert found["specificity"] == found["accuracy"] == intervals.wilson(27, 30)
    assert found["recall"] is found["precision"] is found["f1"] is None
