"""The metrics of each replicate on a test split, and their summary over replicates."""

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
"""The threshold of each replicate: 0.5, or the one that is chosen on its predictions of val."""

COUNTS = ("tp", "fp", "tn", "fn")
RATES = ("accuracy", "precision", "recall", "f1")
THRESHOLD_FREE = ("pr_auc", "loss")
"""Metrics that don't depend on a threshold."""

# As in Keras, which clips probabilities before it takes the logarithm.
_EPSILON = 1e-7

Values = dict[str, NDArray[np.float64]]
"""By metric, one value per trained replicate; NaN if undefined."""


def own_thresholds(arm: Arm, prevalence: float | None) -> NDArray[np.float64]:
    """Chooses a threshold for each trained replicate on its predictions of val.

    The rule is the Calibrator's `best_f1`: the highest F1 on val with smoothed scores.

    Args:
      arm: must have at least one trained replicate.
      prevalence: share of positives to which val is weighted, as in the Calibrator; None
        for val's own.

    Returns:
      float64 (replicates,).

    Raises:
      ValueError: val has only positives or only negatives.
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
    """Computes counts and rates of each replicate, at one threshold per replicate."""
    rows = []
    for probabilities, threshold in zip(scores.probabilities, thresholds, strict=True):
        predicted = metrics.is_positive(probabilities, threshold)
        counts = metrics.confusion(scores.labels, predicted)
        rows.append({**{name: getattr(counts, name) for name in COUNTS}, **metrics.rates(counts)})
    return {name: np.array([row[name] for row in rows], float) for name in (*COUNTS, *RATES)}


def threshold_free(scores: SplitScores) -> Values:
    """Computes PR-AUC and loss of each replicate."""
    return {
        "pr_auc": np.array(
            [metrics.average_precision(scores.labels, row) for row in scores.probabilities]
        ),
        "loss": np.array([cross_entropy(scores.labels, row) for row in scores.probabilities]),
    }


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Computes mean binary cross-entropy in nats; clips probabilities to [1e-7, 1 - 1e-7]."""
    clipped = np.clip(probabilities.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def at_prevalence(values: Values, prevalence: float) -> Values:
    """Computes precision and F1 of each replicate at another share of positives.

    Args:
      values: counts of each replicate.
      prevalence: the share of positives; see `components.evaluator.metrics.rates_at_prevalence`.
    """
    recall = values["tp"] / (values["tp"] + values["fn"])
    false_positive_rate = values["fp"] / (values["fp"] + values["tn"])
    found = metrics.rates_at_prevalence(recall, false_positive_rate, prevalence)
    return {name: found[name] for name in ("precision", "f1")}


def estimate(values: Sequence[float] | NDArray[np.float64], *, upper: float = 1) -> dict[str, Any]:
    """Computes mean, standard deviation and interval of the mean over replicates.

    The interval is Student's t, clipped to [0, `upper`]. It describes the variation of the mean
    between seeds, on the same images. There is no interval if all replicates are equal, such as
    perfect ones: a width of 0 would mean that no seed can differ.

    Args:
      values: one value per replicate; undefined values (NaN) are excluded.
      upper: maximum of the metric.

    Returns:
      `mean`, `sd` (with n - 1), `interval` (95 %) and `replicates`, the number of defined values.
      `mean` is None if there are none, `sd` with fewer than two, and `interval` also if `sd` is 0.
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
    """Applies `estimate` to each metric; counts and losses have no maximum."""
    return {
        name: estimate(row, upper=math.inf if name in (*COUNTS, "loss", "log_loss") else 1)
        for name, row in values.items()
    }


def pooled(scores: SplitScores, thresholds: Iterable[float]) -> dict[str, list[int]]:
    """Computes the confusion matrix summed over replicates, at each threshold.

    Args:
      scores: probabilities of the trained replicates.
      thresholds: from 0 to 1, in any order.

    Returns:
      `tp`, `fp`, `tn` and `fn`, each a list with one count per threshold.
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
