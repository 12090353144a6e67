"""What each replicate scores on a test split, and what the replicates come to together."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.calibrator import operating_point
from components.evaluator import intervals, metrics
from components.study_reporter.record import Arm, SplitScores

AT_HALF = "at_half"
AT_OWN = "at_own"
THRESHOLDS = (AT_HALF, AT_OWN)
"""Which threshold calls an image positive: 0.5, or the one that the replicate chose on val."""

COUNTS = ("tp", "fp", "tn", "fn")
RATES = ("accuracy", "precision", "recall", "f1")
FREE = ("pr_auc", "loss")
"""Metrics that no threshold enters."""

# Keras clips likewise before it takes the logarithm.
_EPSILON = 1e-7

Values = dict[str, NDArray[np.float64]]
"""A value a trained replicate, NaN where undefined, by metric."""


def own_thresholds(arm: Arm, prevalence: float | None) -> NDArray[np.float64]:
    """The threshold that each trained replicate chooses on its own predictions of val.

    It is the Calibrator's `best_f1`: the highest F1 on val with the scores smoothed.

    Args:
      arm: with at least one trained replicate.
      prevalence: share of positives to which val is weighted, as in the Calibrator; val's
        own where None.

    Raises:
      ValueError: val has images of one side only.
    """
    val = arm.scores[arm.val_split]
    try:
        chosen = [
            operating_point.choose(
                row, val.labels, rule=operating_point.BEST_F1, prevalence=prevalence
            ).threshold
            for row in val.probabilities
        ]
    except ValueError as error:
        raise ValueError(f"arm {arm.name!r}, split {arm.val_split!r}: {error}") from error
    return np.array(chosen)


def at_thresholds(scores: SplitScores, thresholds: Iterable[float]) -> Values:
    """Counts and rates of each replicate at a threshold of its own."""
    rows = []
    for probabilities, threshold in zip(scores.probabilities, thresholds, strict=True):
        called = metrics.is_positive(probabilities, threshold)
        counts = metrics.confusion(scores.labels, called)
        rows.append({**{name: getattr(counts, name) for name in COUNTS}, **metrics.rates(counts)})
    return {name: np.array([row[name] for row in rows], float) for name in (*COUNTS, *RATES)}


def free_of_threshold(scores: SplitScores) -> Values:
    """PR-AUC and loss of each replicate."""
    return {
        "pr_auc": np.array(
            [metrics.average_precision(scores.labels, row) for row in scores.probabilities]
        ),
        "loss": np.array([cross_entropy(scores.labels, row) for row in scores.probabilities]),
    }


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Mean binary cross-entropy in nats, of probabilities clipped to [1e-7, 1 - 1e-7]."""
    clipped = np.clip(probabilities.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def at_prevalence(values: Values, prevalence: float) -> Values:
    """Precision and F1 of each replicate as they would be at a share of positives.

    Args:
      values: counts of each replicate.
      prevalence: see `components.evaluator.metrics.rates_at_prevalence`.
    """
    recall = values["tp"] / (values["tp"] + values["fn"])
    alarms = values["fp"] / (values["fp"] + values["tn"])
    found = metrics.rates_at_prevalence(recall, alarms, prevalence)
    return {name: found[name] for name in ("precision", "f1")}


def estimate(values: Sequence[float] | NDArray[np.float64], *, upper: float = 1) -> dict[str, Any]:
    """Mean, standard deviation and interval of the mean over replicates.

    The interval is Student's, cut off at 0 and `upper`. It tells how far the mean of other
    seeds may lie, on the same images. Replicates that are all the same, such as perfect ones,
    don't tell it: a width of 0 would promise that no seed can differ.

    Args:
      values: a value a replicate; those that are undefined (NaN) are left out.
      upper: the most that the metric can be.

    Returns:
      `mean`, `sd` (of n - 1), `interval` and `replicates`, how many were defined. `mean` is
      None without any, `sd` with fewer than two, and `interval` also where `sd` is 0.
    """
    defined = np.asarray(values, np.float64)
    defined = defined[np.isfinite(defined)]
    count = int(defined.size)
    found: dict[str, Any] = {"mean": None, "sd": None, "interval": None, "replicates": count}
    if count:
        found["mean"] = float(defined.mean())
    if count > 1:
        found["sd"] = float(defined.std(ddof=1))
    if count > 1 and np.ptp(defined) > 0:
        quantile = special.stdtrit(count - 1, (1 + intervals.CONFIDENCE) / 2)
        half = float(quantile) * found["sd"] / math.sqrt(count)
        found["interval"] = [max(0.0, found["mean"] - half), min(upper, found["mean"] + half)]
    return found


def estimates(values: Values) -> dict[str, dict[str, Any]]:
    """`estimate` of each metric; counts and the loss have no upper end."""
    return {
        name: estimate(row, upper=math.inf if name in (*COUNTS, "loss") else 1)
        for name, row in values.items()
    }


def pooled(scores: SplitScores, thresholds: Iterable[float]) -> dict[str, list[int]]:
    """The confusion matrix summed over replicates, at each threshold.

    Args:
      scores: of the trained replicates.
      thresholds: any, from 0 to 1.

    Returns:
      `tp`, `fp`, `tn` and `fn`, a list of a count a threshold each.
    """
    bounds = np.asarray(list(thresholds), np.float32)
    positive = scores.labels == 1
    tp, fp = (
        side.size - np.searchsorted(np.sort(side, axis=None), bounds, side="left")
        for side in (scores.probabilities[:, positive], scores.probabilities[:, ~positive])
    )
    positives, negatives = (
        int(np.count_nonzero(side)) * len(scores.probabilities) for side in (positive, ~positive)
    )
    found = {"tp": tp, "fp": fp, "tn": negatives - fp, "fn": positives - tp}
    return {name: counts.tolist() for name, counts in found.items()}
