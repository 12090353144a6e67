"""Metrics of a binary classifier, as plain functions on counts and arrays.

An image is predicted positive if its probability is at least the threshold. A rate whose
denominator is zero is undefined: NaN.

`pr_auc` always means average precision (in training, gates, reports and intervals): exact, from
the predictions themselves, without interpolation. Keras and TFMA interpolate between fixed
thresholds, which gives a different value if many probabilities are close to 0 or 1, as those of a
good model are.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Confusion:
    """Counts of images by label and prediction."""

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
        """Share of positives that are predicted positive (true positive rate)."""
        return _ratio(self.tp, self.positives)

    @property
    def false_positive_rate(self) -> float:
        """Share of negatives that are predicted positive."""
        return _ratio(self.fp, self.negatives)


@dataclass(frozen=True)
class Costs:
    """Costs of the two kinds of wrong decisions, in any unit.

    Attributes:
      missed: cost of a positive image that is predicted negative.
      false_alarm: cost of a negative image that is predicted positive.
    """

    missed: float
    false_alarm: float

    def __post_init__(self) -> None:
        values = (self.missed, self.false_alarm)
        if not (all(0 <= value < math.inf for value in values) and sum(values) > 0):
            raise ValueError(
                "costs must be numbers of 0 or more, not both 0. "
                f"Received: missed {self.missed}, false_alarm {self.false_alarm}"
            )


class Curve(NamedTuple):
    """Precision against recall, with every distinct probability as a threshold.

    Attributes:
      recall: float64 (k,), from the highest threshold to the lowest, increasing to 1.
      precision: float64 (k,), at the same thresholds.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]


class RocCurve(NamedTuple):
    """Recall against the false positive rate, with every distinct probability as a threshold.

    It leads from (0, 0) to (1, 1).

    Attributes:
      false_positive_rate: float64 (k,), not decreasing.
      recall: float64 (k,), not decreasing.
      thresholds: float64 (k,), decreasing; the first one is above all probabilities: infinity.
    """

    false_positive_rate: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def is_positive(probabilities: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Returns whether each probability reaches the threshold, compared in the model's float32."""
    return np.asarray(probabilities, np.float32) >= np.float32(threshold)


def confusion(labels: ArrayLike, called_positive: ArrayLike) -> Confusion:
    """Counts the four outcomes.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others.
      called_positive: bool (n,), the predictions.
    """
    truth, called = np.asarray(labels, bool), np.asarray(called_positive, bool)
    tp = int(np.count_nonzero(truth & called))
    fp = int(np.count_nonzero(~truth & called))
    positives = int(np.count_nonzero(truth))
    return Confusion(tp=tp, fp=fp, tn=truth.size - positives - fp, fn=positives - tp)


def rates(counts: Confusion, negative_weight: float = 1.0) -> dict[str, float]:
    """Returns recall, precision, F1, accuracy and specificity; NaN if undefined.

    Args:
      counts: the counts, possibly of one class only.
      negative_weight: weight of each negative, see `negative_weight`; positives have weight 1.
    """
    tp, fn = counts.tp, counts.fn
    fp, tn = negative_weight * counts.fp, negative_weight * counts.tn
    return {
        "recall": counts.recall,
        "precision": _ratio(tp, tp + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": _ratio(tp + tn, tp + fp + tn + fn),
        "specificity": _ratio(counts.tn, counts.negatives),
    }


def rates_at_prevalence(
    recall: ArrayLike, false_positive_rate: ArrayLike, prevalence: float
) -> dict[str, NDArray[np.float64]]:
    """Returns the rates that a model would have if a share `prevalence` of images were positive.

    Recall and specificity depend on one class each, so they are unchanged; the others are
    recomputed by Bayes' rule, assuming that the images of each class are distributed as in the
    test split. Source: J. Brabec, T. Komárek, V. Franc, L. Machlica, On Model Evaluation
    under Non-constant Class Imbalance, ICCS 2020.

    Args:
      recall: true positive rate, a number or an array.
      false_positive_rate: a number or an array of the same shape.
      prevalence: share of positives, above 0 and below 1.

    Raises:
      ValueError: the prevalence is out of range.
    """
    check_prevalence(prevalence)
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


def f_beta(
    recall: ArrayLike, false_positive_rate: ArrayLike, prevalence: float, beta: float
) -> NDArray[np.float64]:
    """Returns F-beta, in which recall counts `beta` times as much as precision.

    Args:
      recall: true positive rate, a number or an array.
      false_positive_rate: a number or an array of the same shape.
      prevalence: share of positives, above 0 and below 1.
      beta: above 0.

    Raises:
      ValueError: the prevalence is out of range.
    """
    check_prevalence(prevalence)
    tpr, fpr = np.asarray(recall, np.float64), np.asarray(false_positive_rate, np.float64)
    hits, alarms = prevalence * tpr, (1 - prevalence) * fpr
    return (1 + beta**2) * hits / (hits + alarms + beta**2 * prevalence)


def per_thousand(
    recall: ArrayLike,
    false_positive_rate: ArrayLike,
    prevalence: float,
    costs: Costs | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Returns what 1,000 images bring if a share `prevalence` of them is positive.

    Args:
      recall: true positive rate, a number or an array.
      false_positive_rate: a number or an array of the same shape.
      prevalence: share of positives, above 0 and below 1.
      costs: costs of the wrong decisions; None: `expected_cost` is NaN.

    Returns:
      `alerts_per_thousand`, the images that are predicted positive, and `expected_cost`, the cost
      of the wrong decisions, both per 1,000 images.

    Raises:
      ValueError: the prevalence is out of range.
    """
    check_prevalence(prevalence)
    tpr, fpr = np.asarray(recall, np.float64), np.asarray(false_positive_rate, np.float64)
    hits, alarms = prevalence * tpr, (1 - prevalence) * fpr
    cost = np.full_like(hits, math.nan)
    if costs is not None:
        cost = costs.missed * (prevalence - hits) + costs.false_alarm * alarms
    return {"alerts_per_thousand": 1000 * (hits + alarms), "expected_cost": 1000 * cost}


def curve(labels: ArrayLike, probabilities: ArrayLike, prevalence: float | None = None) -> Curve:
    """Computes the precision-recall curve.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both must occur.
      probabilities: (n,), finite.
      prevalence: share of positives for the precision; None for the share in the data.

    Raises:
      ValueError: one of the two classes has no image.
    """
    # Imported here, since it imports scipy.stats, which steps without a curve don't need.
    from sklearn.metrics import precision_recall_curve

    truth = _of_both_classes(labels)
    weights = _image_weights(truth, prevalence)
    precision, recall, _ = precision_recall_curve(truth, probabilities, sample_weight=weights)
    # scikit-learn's last point, a precision of 1 at a recall of 0, has no threshold.
    return Curve(recall=recall[-2::-1], precision=precision[-2::-1])


def average_precision(
    labels: ArrayLike, probabilities: ArrayLike, prevalence: float | None = None
) -> float:
    """Computes the area under the precision-recall curve: mean precision over steps of recall.

    Args: as `curve`.

    Raises: as `curve`.
    """
    from sklearn.metrics import average_precision_score

    truth = _of_both_classes(labels)
    weights = _image_weights(truth, prevalence)
    return float(average_precision_score(truth, probabilities, sample_weight=weights))


def roc_curve(labels: ArrayLike, probabilities: ArrayLike) -> RocCurve:
    """Computes the ROC curve.

    Args: as `curve`.

    Raises: as `curve`.
    """
    from sklearn import metrics

    truth = _of_both_classes(labels)
    return RocCurve(*metrics.roc_curve(truth, probabilities, drop_intermediate=False))


def roc_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Computes the area under the ROC curve: the probability that a positive outscores a negative.

    Args: as `curve`.

    Raises: as `curve`.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(_of_both_classes(labels), probabilities))


def negative_weight(positives: int, negatives: int, prevalence: float | None) -> float:
    """Returns the weight of each negative such that the share of positives is `prevalence`.

    Args:
      positives: number of positives in the data, at least 1; each has weight 1.
      negatives: number of negatives in the data, at least 1.
      prevalence: above 0 and below 1; None for the share in the data.

    Raises:
      ValueError: the prevalence is out of range.
    """
    if prevalence is None:
        return 1.0
    check_prevalence(prevalence)
    return (1 - prevalence) / prevalence * positives / negatives


def _image_weights(
    truth: NDArray[np.bool_], prevalence: float | None
) -> NDArray[np.float64] | None:
    if prevalence is None:
        return None
    positives = int(np.count_nonzero(truth))
    return np.where(truth, 1.0, negative_weight(positives, truth.size - positives, prevalence))


def _of_both_classes(labels: ArrayLike) -> NDArray[np.bool_]:
    truth = np.asarray(labels, bool)
    if truth.all() or not truth.any():
        raise ValueError(
            f"labels must contain both classes. Received: {truth.size} labels of one class"
        )
    return truth


def check_prevalence(prevalence: float) -> None:
    """Checks that a share of positives is above 0 and below 1.

    Raises:
      ValueError: it is not.
    """
    if not 0 < prevalence < 1:
        raise ValueError(
            "prevalence, the share of positives in the real world, must be above 0 and below 1; "
            f"set population.prevalence. Received: {prevalence}"
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
