import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from components.evaluator import intervals, metrics

RECALLS = np.linspace(0.1, 0.95, 8)
PREVALENCE = 1 / 11


def binormal(distance, positives, negatives, seed):
    labels = np.repeat([1, 0], [positives, negatives])
    return labels, np.random.default_rng(seed).normal(distance * labels)


def true_precision(distance):
    false_positive_rate = ndtr(ndtri(RECALLS) - distance)
    hits = PREVALENCE * RECALLS
    return hits / (hits + (1 - PREVALENCE) * false_positive_rate)


@pytest.mark.parametrize(
    ("distance", "positives", "negatives"), [(1.5, 20, 200), (2.5, 50, 50), (4, 50, 500)]
)
def test_the_band_has_the_true_precision_at_each_recall_in_at_least_95_percent(
    distance, positives, negatives
):
    expected = true_precision(distance)
    covered = []
    for seed in range(60):
        drawn = binormal(distance, positives, negatives, seed)
        low, high = intervals.of_precision(*drawn, RECALLS, seed=0, prevalence=PREVALENCE)
        covered.append((low <= expected) & (expected <= high))
    assert np.mean(covered) > 0.95
    assert np.mean(covered, axis=0).min() > 0.88


def test_the_band_includes_the_curve_and_is_narrower_with_more_images():
    widths = []
    for positives in (20, 2000):
        labels, scores = binormal(2, positives, 10 * positives, 0)
        low, high = intervals.of_precision(labels, scores, RECALLS, seed=0)
        points = metrics.curve(labels, scores)
        found = points.precision[np.searchsorted(points.recall, RECALLS - 1e-9)]
        assert np.all((low <= found) & (found <= high))
        widths.append(np.mean(high - low))
    assert widths[1] < widths[0] / 5


def test_the_band_of_a_perfect_model_includes_it_and_depends_on_the_number_of_images():
    low, high = intervals.of_precision(
        [1] * 20 + [0] * 200, [0.9] * 20 + [0.1] * 200, RECALLS, seed=0
    )
    assert np.all(high == 1)
    assert np.all(low < 1)
    assert np.all(low[:-1] > 0.4)


def test_the_band_does_not_depend_on_the_order_of_the_images():
    labels, scores = binormal(2, 30, 100, 0)
    order = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_array_equal(
        intervals.of_precision(labels, scores, RECALLS, seed=0),
        intervals.of_precision(labels[order], scores[order], RECALLS, seed=0),
    )
