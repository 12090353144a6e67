"""Metrics of a binary classifier, as plain functions on counts and arrays.

An image is called positive where its probability is at least the threshold. A rate
whose denominator is zero is undefined, and NaN.

Two estimates of the area under the precision-recall curve exist in a run. The one
called `pr_auc` everywhere (gates, reports, intervals) is average precision: exact, from
the predictions themselves, without interpolation, as scikit-learn's
`average_precision_score`. TFMA's files also hold `auc_precision_recall`, which
interpolates between 10,000 fixed thresholds; it drifts from the former where many
probabilities crowd at 0 or 1, as those of a good model do.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Confusion:
    """Counts of images by truth and by what the model called them."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def positives(self) -> int:
        """Images of the positive class."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Images of every other class."""
        return self.tn + self.fp

    @property
    def recall(self) -> float:
        """Share of positives that were found (true positive rate)."""
        return _ratio(self.tp, self.positives)

    @property
    def false_positive_rate(self) -> float:
        """Share of negatives that were called positive."""
        return _ratio(self.fp, self.negatives)


@dataclass(frozen=True)
class Curve:
    """Counts at every distinct probability taken as the threshold, highest first.

    Attributes:
      thresholds: float64 (k,), falling.
      tp: float64 (k,), positives at or above each threshold; its last is all of them.
      fp: float64 (k,), negatives at or above each threshold; its last is all of them.
    """

    thresholds: NDArray[np.float64]
    tp: NDArray[np.float64]
    fp: NDArray[np.float64]

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall at each threshold, rising to 1."""
        return self.tp / self.tp[-1]

    def precision(self, prevalence: float | None = None) -> NDArray[np.float64]:
        """Precision at each threshold, at the data's own balance or at `prevalence`."""
        if prevalence is None:
            return self.tp / (self.tp + self.fp)
        hits = prevalence * self.recall
        return hits / (hits + (1 - prevalence) * self.fp / self.fp[-1])


def is_positive(probabilities: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Whether each probability reaches the threshold, compared in the model's float32."""
    return np.asarray(probabilities, np.float32) >= np.float32(threshold)


def confusion(labels: ArrayLike, called_positive: ArrayLike) -> Confusion:
    """Counts the four outcomes.

    Args:
      labels: (n,), 1 for the positive class and 0 for every other.
      called_positive: bool (n,), what the model said.
    """
    truth, called = np.asarray(labels, bool), np.asarray(called_positive, bool)
    tp = int(np.count_nonzero(truth & called))
    fp = int(np.count_nonzero(~truth & called))
    positives = int(np.count_nonzero(truth))
    return Confusion(tp=tp, fp=fp, tn=truth.size - positives - fp, fn=positives - tp)


def rates(counts: Confusion) -> dict[str, float]:
    """Recall, precision, F1, accuracy and specificity of the counts; NaN where undefined."""
    tp, fp, tn, fn = counts.tp, counts.fp, counts.tn, counts.fn
    return {
        "recall": counts.recall,
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": _ratio(tp + tn, tp + fp + tn + fn),
        "specificity": _ratio(tn, counts.negatives),
    }


def rates_at_prevalence(
    recall: ArrayLike, false_positive_rate: ArrayLike, prevalence: float
) -> dict[str, NDArray[np.float64]]:
    """The rates that a model would have where a share `prevalence` of images is positive.

    Recall and specificity belong to a class each, so they carry over; the others are
    mixed anew (Bayes). It holds where the images of each class look as they do in the
    test split. Source: J. Brabec, T. Komárek, V. Franc, L. Machlica, On Model Evaluation
    under Non-constant Class Imbalance, ICCS 2020.

    Args:
      recall: true positive rate, a number or an array.
      false_positive_rate: likewise, of the same shape.
      prevalence: share of positives, above 0 and below 1.

    Raises:
      ValueError: the prevalence is not a share.
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must lie between 0 and 1, found {prevalence}")
    tpr, fpr = np.asarray(recall, np.float64), np.asarray(false_positive_rate, np.float64)
    hits, alarms = prevalence * tpr, (1 - prevalence) * fpr
    with np.errstate(invalid="ignore"):
        precision = hits / (hits + alarms)
    return {
        "recall": tpr,
        "precision": precision,
        "f1": 2 * hits / (hits + alarms + prevalence),
        "accuracy": hits + (1 - prevalence) * (1 - fpr),
        "specificity": 1 - fpr,
    }


def curve(labels: ArrayLike, probabilities: ArrayLike) -> Curve:
    """The counts at every threshold.

    Args:
      labels: (n,), 1 for the positive class and 0 for every other; both must occur.
      probabilities: (n,), finite.

    Raises:
      ValueError: one of the two classes has no image.
    """
    truth, scores = np.asarray(labels, bool), np.asarray(probabilities)
    if truth.all() or not truth.any():
        raise ValueError("a curve needs images of both classes, found only one")
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    ends = tie_ends(scores)
    return Curve(
        thresholds=scores[ends].astype(np.float64),
        tp=np.cumsum(truth, dtype=np.float64)[ends],
        fp=np.cumsum(~truth, dtype=np.float64)[ends],
    )


def tie_ends(sorted_scores: NDArray) -> NDArray[np.intp]:
    """Where each run of equal scores ends: equal scores stand or fall together."""
    return np.append(np.flatnonzero(np.diff(sorted_scores)), sorted_scores.size - 1)


def average_precision(points: Curve, prevalence: float | None = None) -> float:
    """Area under the precision-recall curve: precision averaged over the steps of recall.

    Args:
      points: the counts at every threshold.
      prevalence: share of positives to take precision at; the data's own where None.
    """
    steps = np.diff(points.recall, prepend=0.0)
    return float(np.sum(steps * points.precision(prevalence)))


def roc_auc(points: Curve) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative."""
    recall = np.append(0.0, points.recall)
    false_positive_rate = np.append(0.0, points.fp / points.fp[-1])
    return float(np.trapezoid(recall, false_positive_rate))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
