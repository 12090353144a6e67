"""Figures of a model with a review band: a person decides on the images within it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.evaluator import intervals
from components.evaluator.intervals import Interval
from components.evaluator.metrics import Costs, per_thousand

Drawn = NDArray[np.float64]


@dataclass(frozen=True)
class Sides:
    """Counts of the three outcomes; they need not be whole numbers.

    Attributes:
      tp: positive images that are called positive without a review.
      reviewed_positives: positive images that are reviewed.
      positives: all positive images, at least 1.
      fp: negative images that are called positive without a review.
      reviewed_negatives: negative images that are reviewed.
      negatives: all negative images, at least 1.
    """

    tp: float
    reviewed_positives: float
    positives: int
    fp: float
    reviewed_negatives: float
    negatives: int


def count(labels: ArrayLike, called_positive: ArrayLike, needs_review: ArrayLike) -> Sides:
    """Counts the outcomes.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both occur.
      called_positive: (n,), the decision for each image, used if it is not reviewed.
      needs_review: (n,), whether the image is reviewed.
    """
    truth, reviewed = np.asarray(labels, bool), np.asarray(needs_review, bool)
    called = np.asarray(called_positive, bool) & ~reviewed
    return Sides(
        tp=int(np.count_nonzero(truth & called)),
        reviewed_positives=int(np.count_nonzero(truth & reviewed)),
        positives=int(np.count_nonzero(truth)),
        fp=int(np.count_nonzero(~truth & called)),
        reviewed_negatives=int(np.count_nonzero(~truth & reviewed)),
        negatives=int(np.count_nonzero(~truth)),
    )


def figures(
    sides: Sides, prevalence: float, *, seed: int, costs: Costs | None = None
) -> dict[str, Any]:
    """Computes the figures of the images that are decided without a person, with intervals.

    Args:
      sides: the counts.
      prevalence: share of positives, above 0 and below 1.
      seed: seed of the intervals.
      costs: for `expected_cost`.

    Returns:
      `share`: share of all images that is reviewed. `precision`, `recall` and `f1` among the
      decided images. `recall_with_review`: share of all positive images that are called positive
      or reviewed, so that a person can find them. `alerts_per_thousand` and `expected_cost` (of the
      wrong decisions, without the cost of reviews): of the decided images, per 1,000 images in
      total. `intervals`: 95 %, of each. A figure is NaN, and its interval None, if it is undefined.
    """
    positive = _Shares(sides.tp / sides.positives, sides.reviewed_positives / sides.positives)
    negative = _Shares(sides.fp / sides.negatives, sides.reviewed_negatives / sides.negatives)
    found = _figures(positive, negative, prevalence, costs)
    return {**found, "intervals": _intervals(sides, found, prevalence, seed=seed, costs=costs)}


class _Shares(NamedTuple):
    """Shares of a class's images that are called positive, and that are reviewed."""

    called: float | Drawn
    reviewed: float | Drawn


def _figures(
    positive: _Shares, negative: _Shares, prevalence: float, costs: Costs | None
) -> dict[str, Any]:
    recall_with_review = np.asarray(positive.called + positive.reviewed)
    hits, alarms = prevalence * positive.called, (1 - prevalence) * negative.called
    missed = prevalence * np.maximum(1 - recall_with_review, 0)
    # A reviewed positive is not missed.
    cost = per_thousand(recall_with_review, negative.called, prevalence, costs)["expected_cost"]
    with np.errstate(invalid="ignore"):
        return {
            "share": prevalence * positive.reviewed + (1 - prevalence) * negative.reviewed,
            "precision": np.divide(hits, hits + alarms),
            "recall": np.divide(hits, hits + missed),
            "f1": np.divide(2 * hits, 2 * hits + alarms + missed),
            "recall_with_review": recall_with_review,
            "alerts_per_thousand": 1000 * (hits + alarms),
            "expected_cost": cost,
        }


def _intervals(
    sides: Sides, found: dict[str, Any], prevalence: float, *, seed: int, costs: Costs | None
) -> dict[str, Interval]:
    rng = np.random.default_rng(seed)
    positives = intervals.drawn_shares(rng, sides.tp, sides.reviewed_positives, sides.positives)
    negatives = intervals.drawn_shares(rng, sides.fp, sides.reviewed_negatives, sides.negatives)
    positive, negative = _Shares(*positives[:2]), _Shares(*negatives[:2])
    fixed = [np.full_like(negative.called, count / sides.negatives) for count in _false(sides)]
    drawn = _figures(positive, negative, prevalence, costs)
    drawn["share"] = prevalence * positives[2] + (1 - prevalence) * negatives[2]
    by_recall = _figures(positive, _Shares(*fixed), prevalence, costs)
    return {
        name: intervals.around(float(found[name]), drawn[name], by_recall[name]) for name in found
    }


def _false(sides: Sides) -> tuple[float, float]:
    return sides.fp, sides.reviewed_negatives
