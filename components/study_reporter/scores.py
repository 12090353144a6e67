"""The metrics of each replicate on a test split, and their summary over replicates."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.calibrator import operating_point
from components.evaluator import intervals, metrics
from components.reporter.wording import differs
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
                row, labels, rule=operating_point.BEST_F1, prevalence=prevalence
            ).threshold
            for labels, row in val.by_replicate()
        ]
    except ValueError as error:
        raise ValueError(f"arm {arm.name!r}, split {arm.val_split!r}: {error}") from error
    return np.array(chosen)


def at_thresholds(scores: SplitScores, thresholds: Iterable[float]) -> Values:
    """Computes counts and rates of each replicate, at one threshold per replicate."""
    rows = []
    for (labels, row), threshold in zip(scores.by_replicate(), thresholds, strict=True):
        counts = metrics.confusion(labels, metrics.is_positive(row, threshold))
        rows.append({**{name: getattr(counts, name) for name in COUNTS}, **metrics.rates(counts)})
    return {name: np.array([row[name] for row in rows], float) for name in (*COUNTS, *RATES)}


def threshold_free(scores: SplitScores) -> Values:
    """Computes PR-AUC and loss of each replicate."""
    return {
        "pr_auc": average_precisions(scores),
        "loss": np.array([cross_entropy(labels, row) for labels, row in scores.by_replicate()]),
    }


def average_precisions(scores: SplitScores, prevalence: float | None = None) -> NDArray[np.float64]:
    """Computes PR-AUC of each replicate, (replicates,).

    Args:
      scores: probabilities of the replicates.
      prevalence: share of positives of the precision; None for the split's own.
    """
    rows = scores.by_replicate()
    return np.array([metrics.average_precision(labels, row, prevalence) for labels, row in rows])


def cross_entropy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Computes mean binary cross-entropy in nats; clips probabilities to [1e-7, 1 - 1e-7]."""
    clipped = np.clip(probabilities.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def at_prevalence(values: Values, prevalence: float) -> Values:
    """Computes accuracy, precision and F1 of each replicate at another share of positives.

    Args:
      values: counts of each replicate.
      prevalence: the share of positives; see `components.evaluator.metrics.rates_at_prevalence`.
    """
    recall = values["tp"] / (values["tp"] + values["fn"])
    false_positive_rate = values["fp"] / (values["fp"] + values["tn"])
    found = metrics.rates_at_prevalence(recall, false_positive_rate, prevalence)
    return {name: found[name] for name in ("accuracy", "precision", "f1")}


def all_at_prevalence(
    values: Mapping[str | None, Values], scores: SplitScores, prevalence: float
) -> dict[str | None, Values]:
    """Computes what depends on the share of positives, by threshold as in `values`.

    Args:
      values: of each replicate, by `THRESHOLDS`.
      scores: probabilities of the replicates.
      prevalence: the share of positives.

    Returns:
      `at_prevalence` by threshold, and with the key None `pr_auc`.
    """
    found: dict[str | None, Values] = {
        key: at_prevalence(values[key], prevalence) for key in THRESHOLDS
    }
    return {**found, None: {"pr_auc": average_precisions(scores, prevalence)}}


def compared_at(scores: SplitScores, prevalence: float | None) -> float | None:
    """Returns the share of positives at which the arms of a test split are compared.

    Args:
      scores: probabilities of an arm's replicates.
      prevalence: the real world's share of positives; None if unknown.

    Returns:
      The prevalence; None for the split's own share, if it is the same or the prevalence unknown.
    """
    return prevalence if prevalence is not None and differs(scores.share, prevalence) else None


@dataclass(frozen=True)
class Draws:
    """The draws of the splits on which replicates were trained.

    Attributes:
      of_replicates: the draw of each replicate, int64 (replicates,).
      overlap: correlation of two draws through the images that both have, 0 to 1, see
        `components.study_reporter.overlap`; 0 with one draw.
    """

    of_replicates: NDArray[np.int64]
    overlap: float = 0.0

    @property
    def several(self) -> bool:
        """Whether there are several draws."""
        return np.unique(self.of_replicates).size > 1

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the means over the replicates of each draw.

        Args:
          values: float64 (replicates, ...).

        Returns:
          float64 (draws, ...), over the defined values; NaN if a draw has none.
        """
        return np.stack(
            [defined_mean(values[self.of_replicates == draw]) for draw in self._numbers()]
        )

    def _numbers(self) -> NDArray[np.int64]:
        return np.unique(self.of_replicates)

    @property
    def factor(self) -> float:
        """Variance of the mean over all draws, divided by the variance between draws.

        Nadeau and Bengio's correction, with the share of images that two draws have in common.
        """
        return 1 / len(self._numbers()) + self.overlap / (1 - self.overlap)


def defined_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the first axis of the defined values; NaN if there are none."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0)


def estimate(
    values: Sequence[float] | NDArray[np.float64],
    *,
    upper: float = 1,
    draws: Draws | None = None,
) -> dict[str, Any]:
    """Computes mean, standard deviation and interval of the mean over replicates.

    The interval is Student's t, clipped to [0, `upper`]. With one draw of the splits it describes
    the variation of the mean between seeds, on the same images. With several it describes that
    between draws, whose means over seeds are the values; since draws have images in common, the
    variance of their mean is corrected as in the corrected resampled t-test of C. Nadeau and Y.
    Bengio, Inference for the Generalization Error, Machine Learning 52 (2003). There is no interval
    if all values are equal, such as those of perfect replicates: a width of 0 would mean that no
    other can differ.

    Args:
      values: one value per replicate; undefined values (NaN) are excluded.
      upper: maximum of the metric.
      draws: the draws of the splits; None for one.

    Returns:
      `mean`, `sd` (with n - 1, of the values of the interval), `interval` (95 %) and `replicates`,
      the number of defined values. `mean` is None if there are none, `sd` with fewer than two, and
      `interval` also if `sd` is 0.
    """
    given = np.asarray(values, np.float64)
    several = draws is not None and draws.several
    defined = draws.means(given) if draws is not None and several else given
    defined = defined[np.isfinite(defined)]
    count = int(defined.size)
    found: dict[str, Any] = {
        "mean": None,
        "sd": None,
        "interval": None,
        "replicates": int(np.isfinite(given).sum()),
    }
    if count:
        found["mean"] = float(defined.mean())
    if count > 1:
        found["sd"] = float(defined.std(ddof=1))
    if count > 1 and np.ptp(defined) > 0:
        share = draws.factor if draws is not None and several else 1 / count
        quantile = special.stdtrit(count - 1, (1 + intervals.CONFIDENCE) / 2)
        half = float(quantile) * found["sd"] * math.sqrt(share)
        found["interval"] = [max(0.0, found["mean"] - half), min(upper, found["mean"] + half)]
    return found


def estimates(values: Values, draws: Draws | None = None) -> dict[str, dict[str, Any]]:
    """Applies `estimate` to each metric; counts and losses have no maximum."""
    return {
        name: estimate(
            row, upper=math.inf if name in (*COUNTS, "loss", "log_loss") else 1, draws=draws
        )
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
    sides = [
        scores.probabilities[:, side][scores.present[:, side]] for side in (positive, ~positive)
    ]
    tp, fp = (side.size - np.searchsorted(np.sort(side), bounds, side="left") for side in sides)
    found = {"tp": tp, "fp": fp, "tn": sides[1].size - fp, "fn": sides[0].size - tp}
    return {name: counts.tolist() for name, counts in found.items()}
