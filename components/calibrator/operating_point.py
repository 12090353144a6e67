"""Which probability is enough to call an image positive. Imports neither TensorFlow nor TFX.

An image is positive when its probability is at least the threshold. The candidates are the
midpoints between adjacent distinct scores (and below the lowest), so that a score that comes
out a little different on another machine does not change sides. Each is a float32 value: a
comparison gives the same in float32 and in float64.
"""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.calibrator.smoothing import smoothed_f1

ASSET_NAME = "operating_point.json"

BEST_F1 = "best_f1"
RECALL_AT_PRECISION = "recall_at_precision"
FIXED = "fixed"
RULES = (BEST_F1, RECALL_AT_PRECISION, FIXED)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and what it gives on the images it was chosen on.

    Attributes:
      threshold: probability from which on an image is positive, 0 to 1.
      rule: `best_f1`, `recall_at_precision` or `fixed`.
      precision_floor: what `recall_at_precision` was asked to hold; None for other rules.
      precision: true positives among those called positive; 0 where none is.
      recall: true positives among the positives.
      f1: harmonic mean of both.
      positives: positive images it was chosen on.
      negatives: negative images it was chosen on.
    """

    threshold: float
    rule: str
    precision_floor: float | None
    precision: float
    recall: float
    f1: float
    positives: int
    negatives: int

    def to_json(self) -> str:
        """The asset's text."""
        return json.dumps(asdict(self), indent=2)


def read(serving_dir: str) -> dict[str, Any]:
    """The operating point in a calibrated SavedModel, as plain values.

    Args:
      serving_dir: the SavedModel's folder.

    Raises:
      FileNotFoundError: the model has none.
    """
    path = os.path.join(serving_dir, "assets", ASSET_NAME)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{serving_dir} has no operating point ({path} is missing); was it calibrated?"
        ) from error


@dataclass(frozen=True)
class _Candidates:
    """What each threshold gives, from the highest to the lowest.

    Attributes:
      thresholds: float32 (k,).
      true_positives: int64 (k,).
      false_positives: int64 (k,).
      positives: images that are positive.
      negatives: images that are not.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    positives: int
    negatives: int

    @property
    def precision(self) -> np.ndarray:
        called = self.true_positives + self.false_positives
        return self.true_positives / np.maximum(called, 1)

    @property
    def recall(self) -> np.ndarray:
        return self.true_positives / self.positives

    @property
    def f1(self) -> np.ndarray:
        called = self.true_positives + self.false_positives
        return 2 * self.true_positives / (called + self.positives)


def choose(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rule: str,
    precision_floor: float = 0.0,
    threshold: float = 0.5,
) -> OperatingPoint:
    """The operating point that a rule gives.

    - `best_f1`: the highest F1 to be expected on new images, see `components.calibrator.smoothing`;
      of several, the highest.
    - `recall_at_precision`: the highest recall at which precision is at least the floor; of
      several, the one of highest precision.
    - `fixed`: the threshold given.

    Args:
      probabilities: float32 (n,), 0 to 1.
      labels: int (n,), 1 for positive and 0 for negative.
      rule: one of `RULES`.
      precision_floor: for `recall_at_precision`, 0 to 1.
      threshold: for `fixed`, 0 to 1.

    Raises:
      ValueError: the rule is unknown, one side has no image, a probability is not a number
        from 0 to 1, or no threshold reaches the precision floor.
    """
    if rule not in RULES:
        raise ValueError(f"calibrator.rule must be one of {list(RULES)}. Received: {rule!r}")
    probabilities, labels = _checked(probabilities, labels)
    if rule == FIXED:
        candidates, index = _at(threshold, probabilities, labels), 0
    elif rule == BEST_F1:
        candidates = _all_candidates(probabilities, labels)
        index = int(np.argmax(smoothed_f1(candidates.thresholds, probabilities, labels)))
    else:
        candidates = _all_candidates(probabilities, labels)
        index = _recall_at_precision(candidates, precision_floor)
    return OperatingPoint(
        threshold=float(candidates.thresholds[index]),
        rule=rule,
        precision_floor=precision_floor if rule == RECALL_AT_PRECISION else None,
        precision=float(candidates.precision[index]),
        recall=float(candidates.recall[index]),
        f1=float(candidates.f1[index]),
        positives=candidates.positives,
        negatives=candidates.negatives,
    )


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities = np.asarray(probabilities, np.float32)
    labels = np.asarray(labels, np.int64)
    if probabilities.ndim != 1 or probabilities.shape != labels.shape:
        raise ValueError(
            "probabilities and labels must be of one dimension and the same length. "
            f"Received: shapes {probabilities.shape} and {labels.shape}"
        )
    # Written so that NaN, which is not within anything, is caught too.
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("the model gives probabilities that are not numbers from 0 to 1")
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise ValueError(
            "an operating point needs images of both sides, and there are "
            f"{positives} positive and {len(labels) - positives} negative ones"
        )
    return probabilities, labels


def _at(threshold: float, probabilities: np.ndarray, labels: np.ndarray) -> _Candidates:
    if not 0 <= threshold <= 1:
        raise ValueError(f"calibrator.threshold must be from 0 to 1. Received: {threshold}")
    thresholds = np.array([threshold], np.float32)
    called = labels[probabilities >= thresholds]
    return _Candidates(
        thresholds=thresholds,
        true_positives=np.array([called.sum()]),
        false_positives=np.array([len(called) - called.sum()]),
        positives=int(labels.sum()),
        negatives=int(len(labels) - labels.sum()),
    )


def _all_candidates(probabilities: np.ndarray, labels: np.ndarray) -> _Candidates:
    order = np.argsort(-probabilities, kind="stable")
    scores = probabilities[order]
    last_of_score = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    true_positives = np.cumsum(labels[order])[last_of_score]
    upper = scores[last_of_score]
    return _Candidates(
        thresholds=_midpoints(upper, np.append(upper[1:], np.float32(0))),
        true_positives=true_positives,
        false_positives=last_of_score + 1 - true_positives,
        positives=int(labels.sum()),
        negatives=int(len(labels) - labels.sum()),
    )


def _midpoints(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """float32 values above `lower` and at most `upper`, halfway where there is room."""
    middle = ((upper.astype(np.float64) + lower) / 2).astype(np.float32)
    # Between neighbours in float32 there is none, and the rounding may have gone down.
    return np.where(middle > lower, middle, upper)


def _recall_at_precision(candidates: _Candidates, floor: float) -> int:
    precision = candidates.precision
    reached = np.flatnonzero(precision >= floor)
    if not len(reached):
        best = int(np.flatnonzero(precision == precision.max())[-1])
        raise ValueError(
            f"no threshold reaches the precision floor of {floor:g}: the best precision is "
            f"{precision[best]:.4f}, at a recall of {candidates.recall[best]:.4f}; lower "
            "calibrator.precision_floor or train a better model"
        )
    return int(reached[np.argmax(candidates.true_positives[reached])])
