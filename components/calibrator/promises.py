"""What the operating point will give on new images, by cross-fitting on val.

The images on which a threshold was chosen suit it partly by chance, so its figures on them are too
good. Instead the rule chooses a threshold on nine tenths of the images, its decisions are counted
on the last tenth, and the counts of all tenths are added. This is repeated with other tenths, to
make the result depend less on them, and the counts are averaged: they give the figures.

The intervals are those of the mean of these counts and those on all of val, widened to include the
figure. With either of the two alone the intervals are too narrow for some rules: a bound such as a
precision floor fixes the counts on val, so the threshold varies instead of them, and cross-fitted
counts vary in addition; the best F1 on val is too high. `python -m benchmarks.operating_point`
measures figures and intervals against the true values.

A calibration map that was fitted on the same val does not change the order of the images, so only
the figures of `fixed` depend on it; they are those on val, and with 20 positive images up to about
0.02 too high in F1.

Source: M. Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, JRSS B 36
(1974).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.calibrator import rules
from components.calibrator.decision import Decision, decide
from components.calibrator.rules import Rule
from components.evaluator import intervals, metrics, review
from components.evaluator.intervals import Interval, Shares

_FOLDS = 10
_REPEATS = 4
_SEED = 0

Sides = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Sorted probabilities of the positive and of the negative images."""


def promise(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    rule: Rule,
    decision: Decision,
    *,
    prevalence: float | None,
    share: float = 0.0,
) -> dict[str, Any]:
    """Computes the figures of an operating point on new images, with 95 % intervals.

    Args:
      probabilities: (n,), 0 to 1, on which the operating point was chosen.
      labels: (n,), 1 for positive and 0 for negative; both occur.
      rule: the rule that chose it.
      decision: the operating point.
      prevalence: share of positives for the figures; None for that of the images.
      share: largest share of images that is reviewed.

    Returns:
      `precision`, `recall`, `f1`, `f_beta` (for `best_fbeta`), `alerts_per_thousand`,
      `expected_cost` (if costs are known), their `intervals`, and `review`, see
      `components.evaluator.review`, None without a review band. The result does not depend on the
      order of the images.
    """
    sides = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    population = len(sides[0]) / len(labels) if prevalence is None else prevalence
    on_val = np.stack([_above(side, decision) for side in sides])
    expected = on_val
    if _depends_on_images(rule, sides, share):
        expected = _cross_fitted(sides, rule, prevalence=prevalence, share=share)
    found = {"expected": expected, "middle": (expected + on_val) / 2}
    return {
        **_figures(found, sides, rule, population),
        "review": _review(found, sides, rule, population) if share else None,
    }


def _depends_on_images(rule: Rule, sides: Sides, share: float) -> bool:
    """Returns whether thresholds are chosen; with a single image of a side none can be left out."""
    return (rule.name != rules.FIXED or share > 0) and min(map(len, sides)) > 1


def _cross_fitted(
    sides: Sides, rule: Rule, *, prevalence: float | None, share: float
) -> NDArray[np.float64]:
    """Counts as `_above`, (2, 3), each image by thresholds that were chosen without it."""
    rng = np.random.default_rng(_SEED)
    counts = np.zeros((2, 3))
    for _ in range(_REPEATS):
        for chosen_on, counted_on in _folds(sides, rng):
            labels = np.repeat([1, 0], [len(side) for side in chosen_on])
            fitted = decide(
                np.concatenate(chosen_on), labels, rule, prevalence=prevalence, review=share
            )
            counts += np.stack([_above(side, fitted) for side in counted_on])
    return counts / _REPEATS


def _folds(sides: Sides, rng: np.random.Generator) -> Iterator[tuple[Sides, Sides]]:
    """Yields the images to choose on and those to count on, with equal shares of each side."""
    folds = min(_FOLDS, *(len(side) for side in sides))
    numbers = [rng.permutation(len(side)) % folds for side in sides]
    for fold in range(folds):
        counted = [number == fold for number in numbers]
        yield (
            (sides[0][~counted[0]], sides[1][~counted[1]]),
            (sides[0][counted[0]], sides[1][counted[1]]),
        )


def _above(scores: NDArray[np.float32], decision: Decision) -> NDArray[np.float64]:
    """Counts the sorted scores that reach the band's upper end, the threshold and its lower end."""
    band = decision.band
    ends = (band.upper, band.lower) if band else (decision.threshold,) * 2
    bounds = np.array([ends[0], decision.threshold, ends[1]], np.float32)
    return len(scores) - np.searchsorted(scores, bounds, side="left").astype(np.float64)


def _figures(
    found: dict[str, NDArray[np.float64]], sides: Sides, rule: Rule, prevalence: float
) -> dict[str, Any]:
    positives, negatives = map(len, sides)
    tp, fp = found["expected"][:, 1]
    recall, alarms = tp / positives, fp / negatives
    values = {
        **metrics.rates_at_prevalence(recall, alarms, prevalence),
        **metrics.per_thousand(recall, alarms, prevalence, rule.costs),
        "f_beta": metrics.f_beta(recall, alarms, prevalence, rule.beta),
    }
    tp, fp = found["middle"][:, 1]
    ends = intervals.of_shares(
        Shares(tp, positives, fp, negatives),
        prevalence,
        seed=_SEED,
        costs=rule.costs,
        beta=rule.beta,
    )
    return _with_intervals({name: values[name] for name in _names(rule)}, ends)


def _names(rule: Rule) -> list[str]:
    names = ["precision", "recall", "f1", "alerts_per_thousand"]
    if rule.name == rules.BEST_FBETA:
        names.append("f_beta")
    if rule.costs is not None:
        names.append("expected_cost")
    return names


def _review(
    found: dict[str, NDArray[np.float64]], sides: Sides, rule: Rule, prevalence: float
) -> dict[str, Any]:
    values, middle = (
        review.figures(_outcomes(counts, sides), prevalence, seed=_SEED, costs=rule.costs)
        for counts in found.values()
    )
    del values["intervals"]
    if rule.costs is None:
        del values["expected_cost"]
    return _with_intervals(values, middle["intervals"])


def _outcomes(counts: NDArray[np.float64], sides: Sides) -> review.Sides:
    (tp, _, lowest_positives), (fp, _, lowest_negatives) = counts
    return review.Sides(
        tp=tp,
        reviewed_positives=lowest_positives - tp,
        positives=len(sides[0]),
        fp=fp,
        reviewed_negatives=lowest_negatives - fp,
        negatives=len(sides[1]),
    )


def _with_intervals(values: dict[str, Any], ends: dict[str, Interval]) -> dict[str, Any]:
    """Returns the figures as JSON's types, None for NaN, with intervals that include them."""
    plain = {name: None if np.isnan(value) else float(value) for name, value in values.items()}
    return {
        **plain,
        "intervals": {name: _including(value, ends[name]) for name, value in plain.items()},
    }


def _including(value: float | None, ends: Interval) -> Interval:
    if value is None or ends is None:
        return None
    return min(ends[0], value), max(ends[1], value)
