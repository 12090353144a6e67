import math

import numpy as np
import pytest

from components.calibrator.operating_point import choose
from components.calibrator.smoothing import bandwidth, smoothed_counts


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-scores))


def _normal_scores(rng, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns log odds: N(2, 1.5) for positive images, N(-2, 1.5) for negative ones."""
    labels = np.array([1] * positives + [0] * negatives)
    return rng.normal(np.where(labels == 1, 2, -2), 1.5), labels


def _true_f1(threshold: float) -> float:
    """Returns the model's F1 on infinitely many images, with 10 negatives per positive."""
    score = math.log(threshold / (1 - threshold))
    recall = 0.5 * math.erfc((score - 2) / 1.5 / math.sqrt(2))
    fall_out = 0.5 * math.erfc((score + 2) / 1.5 / math.sqrt(2))
    return 2 * recall / (recall + 10 * fall_out + 1)


def _plain_best_f1(scores: np.ndarray, labels: np.ndarray) -> float:
    thresholds = np.unique(scores)
    called = scores[None] >= thresholds[:, None]
    f1 = 2 * (called & (labels == 1)).sum(1) / (called.sum(1) + labels.sum())
    return float(thresholds[np.argmax(f1)])


def test_the_counts_are_those_of_a_gaussian_around_each_score():
    rng = np.random.default_rng(0)
    scores, labels = _normal_scores(rng, 50, 500)
    thresholds = _sigmoid(np.linspace(-3, 3, 7))

    def above(side: np.ndarray, score: float) -> float:
        width = bandwidth(side) * math.sqrt(2)
        return sum(0.5 * math.erfc((score - one) / width) for one in side)

    sides = scores[labels == 1], scores[labels == 0]
    found = smoothed_counts(thresholds, _sigmoid(scores), labels)
    for side, counts in zip(sides, found, strict=True):
        expected = [above(side, score) for score in np.linspace(-3, 3, 7)]
        np.testing.assert_allclose(counts, expected, atol=2e-3 * len(side))


def test_the_bandwidth_is_one_and_a_half_times_silvermans():
    scores = np.random.default_rng(0).normal(size=1000)
    low, high = np.quantile(scores, [0.25, 0.75])
    silverman = 0.9 * min(np.std(scores), (high - low) / 1.34) * 1000**-0.2
    assert bandwidth(scores) == pytest.approx(1.5 * silverman)


def test_a_side_whose_middle_half_is_one_score_has_a_bandwidth():
    scores = np.array([0.0] * 9 + [1.0])
    assert bandwidth(scores) == pytest.approx(1.35 * np.std(scores) * 10**-0.2)


def test_with_few_positives_smoothing_gives_a_better_f1_on_new_images():
    rng = np.random.default_rng(0)
    smooth, plain = [], []
    for _ in range(200):
        scores, labels = _normal_scores(rng, 50, 500)
        probabilities = _sigmoid(scores)
        smooth.append(_true_f1(choose(probabilities, labels, rule="best_f1").threshold))
        plain.append(_true_f1(_plain_best_f1(probabilities, labels)))
    assert np.mean(smooth) > np.mean(plain) + 0.003
    assert np.std(smooth) < np.std(plain)


def test_with_many_images_smoothing_gives_the_plain_best_f1():
    scores, labels = _normal_scores(np.random.default_rng(0), 20_000, 200_000)
    probabilities = _sigmoid(scores)
    thresholds = np.linspace(0.05, 0.95, 50)
    best = max(choose(probabilities, labels, rule="fixed", threshold=t).f1 for t in thresholds)
    assert choose(probabilities, labels, rule="best_f1").f1 > best - 0.002


def test_separable_sides_are_separated_within_the_gap():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 50 + [0] * 500)
    probabilities = np.where(labels == 1, 0.8, 0.2) + rng.uniform(-0.1, 0.1, 550)
    point = choose(probabilities, labels, rule="best_f1")
    assert 0.3 < point.threshold < 0.7
    assert point.f1 == 1.0
