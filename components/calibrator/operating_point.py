"""Chooses the probability from which an image is positive. Imports neither TensorFlow nor TFX.

An image is positive if its probability is at least the threshold. The candidates are the
midpoints between adjacent distinct scores (and one below the lowest), so that a score that is
slightly different on another machine does not change sides. Each is a float32 value, so that
comparisons in float32 and in float64 agree.

Precision and F1 depend on the prevalence, so every rule weights the negatives of val such that
the share of positives equals the population's.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

import numpy as np

from components.calibrator.smoothing import smoothed_counts
from components.calibrator.val_scores import checked
from components.evaluator import intervals
from components.evaluator.metrics import Confusion, negative_weight

ASSET_NAME = "operating_point.json"
CALIBRATION = "calibration"
"""Key of the calibration in the asset."""

BEST_F1 = "best_f1"
RECALL_AT_PRECISION = "recall_at_precision"
FIXED = "fixed"
RULES = (BEST_F1, RECALL_AT_PRECISION, FIXED)

# If a negative represents more than this many, the false positive rate is imprecise.
_MANY = 2
_SEED = 0


class OwnBalance(TypedDict):
    """Share of positives, precision and F1 of a threshold on unweighted val."""

    prevalence: float
    precision: float
    f1: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and its metrics on the images it was chosen on.

    Attributes:
      threshold: probability from which an image is positive, 0 to 1.
      rule: `best_f1`, `recall_at_precision` or `fixed`.
      precision_floor: the floor of `recall_at_precision`; None for other rules.
      prevalence: share of positives to which the images were weighted.
      precision: at that prevalence; 0 if no image is predicted positive.
      precision_interval: its 95 % interval; None if no image is predicted positive.
      recall: share of the positives that are predicted positive.
      f1: harmonic mean of precision and recall, at that prevalence.
      positives: number of positive images it was chosen on.
      negatives: number of negative images it was chosen on.
      own_balance: the metrics that depend on the prevalence, at the images' own balance.
      remarks: caveats, one clause each.
    """

    threshold: float
    rule: str
    precision_floor: float | None
    prevalence: float
    precision: float
    precision_interval: tuple[float, float] | None
    recall: float
    f1: float
    positives: int
    negatives: int
    own_balance: OwnBalance
    remarks: tuple[str, ...]

    def to_json(self, calibration: Mapping[str, Any] | None = None) -> str:
        """Returns the asset's text.

        Args:
          calibration: how the probabilities were computed from scores, see
            `components.calibrator.calibration`; None if they are the scores.
        """
        return json.dumps({**asdict(self), CALIBRATION: calibration}, indent=2)


def read(serving_dir: str) -> dict[str, Any]:
    """Reads the operating point of a calibrated SavedModel, as plain values.

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
            f"{serving_dir} has no operating point: {path} does not exist; use a model that was "
            "exported by the Calibrator"
        ) from error


@dataclass(frozen=True)
class _Candidates:
    """Candidate thresholds, from the highest to the lowest, with their counts.

    Attributes:
      thresholds: float32 (k,).
      true_positives: (k,).
      false_positives: (k,).
      positives: number of positive images.
      negatives: number of negative images.
      weight: weight of each negative image.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    positives: int
    negatives: int
    weight: float

    @property
    def precision(self) -> np.ndarray:
        called = self.true_positives + self.weight * self.false_positives
        return np.divide(self.true_positives, called, out=np.zeros(len(called)), where=called > 0)

    @property
    def recall(self) -> np.ndarray:
        return self.true_positives / self.positives

    @property
    def f1(self) -> np.ndarray:
        called = self.true_positives + self.weight * self.false_positives
        return 2 * self.true_positives / (called + self.positives)

    def smoothed(self, probabilities: np.ndarray, labels: np.ndarray) -> "_Candidates":
        """Returns the candidates with the counts to expect on new images."""
        tp, fp = smoothed_counts(self.thresholds, probabilities, labels)
        return replace(self, true_positives=tp, false_positives=fp)

    def at(self, index: int) -> "_Candidates":
        """Returns one of the candidates."""
        one = slice(index, index + 1)
        return replace(
            self,
            thresholds=self.thresholds[one],
            true_positives=self.true_positives[one],
            false_positives=self.false_positives[one],
        )


def choose(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rule: str,
    prevalence: float | None = None,
    precision_floor: float = 0.0,
    threshold: float = 0.5,
) -> OperatingPoint:
    """Chooses the operating point by a rule.

    - `best_f1`: the highest F1 expected on new images, see `components.calibrator.smoothing`;
      of several thresholds, the highest.
    - `recall_at_precision`: the highest recall for which the precision, both on the images and
      expected on new ones, is at least the floor; of several thresholds, the one with the highest
      precision. If no threshold that reaches the floor is expected to hold it, the one of these
      with the highest expected precision.
    - `fixed`: the given threshold.

    Args:
      probabilities: float32 (n,), 0 to 1.
      labels: int (n,), 1 for positive and 0 for negative.
      rule: one of `RULES`.
      prevalence: share of positives in the population, above 0 and below 1, at which
        precision and F1 are computed; None for the images' own share.
      precision_floor: for `recall_at_precision`, 0 to 1.
      threshold: for `fixed`, 0 to 1.

    Raises:
      ValueError: the rule is unknown, one side has no image, a probability is not a number
        from 0 to 1, the prevalence is out of range, or no threshold reaches the precision floor.
    """
    if rule not in RULES:
        raise ValueError(f"calibrator.rule must be one of {list(RULES)}. Received: {rule!r}")
    probabilities, labels = checked(probabilities, labels)
    if rule == FIXED:
        candidates, index = _at(threshold, probabilities, labels, prevalence), 0
        expected = candidates
    else:
        candidates = _all_candidates(probabilities, labels, prevalence)
        expected = candidates.smoothed(probabilities, labels)
        index = int(np.argmax(expected.f1))
        if rule == RECALL_AT_PRECISION:
            index = _recall_at_precision(candidates, expected, precision_floor)
    return _point(
        candidates.at(index),
        expected.at(index),
        rule=rule,
        prevalence=prevalence,
        floor=precision_floor if rule == RECALL_AT_PRECISION else None,
    )


def _point(
    chosen: _Candidates,
    expected: _Candidates,
    *,
    rule: str,
    prevalence: float | None,
    floor: float | None,
) -> OperatingPoint:
    own, share = replace(chosen, weight=1.0), chosen.positives / _images(chosen)
    population = share if prevalence is None else prevalence
    bounds = _precision_interval(chosen, population)
    return OperatingPoint(
        threshold=float(chosen.thresholds[0]),
        rule=rule,
        precision_floor=floor,
        prevalence=population,
        precision=float(chosen.precision[0]),
        precision_interval=bounds,
        recall=float(chosen.recall[0]),
        f1=float(chosen.f1[0]),
        positives=chosen.positives,
        negatives=chosen.negatives,
        own_balance={
            "prevalence": share,
            "precision": float(own.precision[0]),
            "f1": float(own.f1[0]),
        },
        remarks=(
            *_balance_remarks(chosen),
            *_floor_remarks(floor, bounds, float(expected.precision[0])),
        ),
    )


def _images(candidates: _Candidates) -> int:
    return candidates.positives + candidates.negatives


def _precision_interval(chosen: _Candidates, prevalence: float) -> tuple[float, float] | None:
    tp, fp = int(chosen.true_positives[0]), int(chosen.false_positives[0])
    counts = Confusion(tp=tp, fp=fp, tn=chosen.negatives - fp, fn=chosen.positives - tp)
    return intervals.at_prevalence(counts, prevalence, seed=_SEED)["precision"]


def _balance_remarks(chosen: _Candidates) -> list[str]:
    if chosen.weight <= _MANY:
        return []
    return [
        f"each of the {chosen.negatives:,} negative images represents {chosen.weight:.3g} of the "
        "population, so few images determine the false positive rate; draw the split at the "
        "population's balance"
    ]


def _floor_remarks(
    floor: float | None, bounds: tuple[float, float] | None, expected: float
) -> list[str]:
    remarks = []
    if floor is not None and not _reaches(expected, floor):
        remarks.append(
            f"no threshold that reaches the precision floor of {floor:g} is expected to reach it "
            f"on new images; this one has the highest expected precision, {expected:.3f}"
        )
    if floor is not None and bounds is not None and bounds[0] < floor:
        remarks.append(
            f"the 95 % interval of precision is {bounds[0]:.3f} to {bounds[1]:.3f}: the true "
            f"precision may be below the floor of {floor:g}"
        )
    return remarks


def _at(
    threshold: float, probabilities: np.ndarray, labels: np.ndarray, prevalence: float | None
) -> _Candidates:
    if not 0 <= threshold <= 1:
        raise ValueError(f"calibrator.threshold must be from 0 to 1. Received: {threshold}")
    thresholds = np.array([threshold], np.float32)
    called = labels[probabilities >= thresholds]
    return _candidates(
        thresholds,
        np.array([called.sum()]),
        np.array([len(called) - called.sum()]),
        labels,
        prevalence,
    )


def _all_candidates(
    probabilities: np.ndarray, labels: np.ndarray, prevalence: float | None
) -> _Candidates:
    order = np.argsort(-probabilities, kind="stable")
    scores = probabilities[order]
    last_of_score = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    true_positives = np.cumsum(labels[order])[last_of_score]
    upper = scores[last_of_score]
    return _candidates(
        _midpoints(upper, np.append(upper[1:], np.float32(0))),
        true_positives,
        last_of_score + 1 - true_positives,
        labels,
        prevalence,
    )


def _candidates(
    thresholds: np.ndarray,
    true_positives: np.ndarray,
    false_positives: np.ndarray,
    labels: np.ndarray,
    prevalence: float | None,
) -> _Candidates:
    positives = int(labels.sum())
    negatives = len(labels) - positives
    weight = negative_weight(positives, negatives, prevalence)
    return _Candidates(thresholds, true_positives, false_positives, positives, negatives, weight)


def _midpoints(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Returns float32 values above `lower` and at most `upper`, halfway if possible."""
    middle = ((upper.astype(np.float64) + lower) / 2).astype(np.float32)
    # Between neighbours in float32 there is no value, and rounding may have given `lower`.
    return np.where(middle > lower, middle, upper)


def _recall_at_precision(candidates: _Candidates, expected: _Candidates, floor: float) -> int:
    precision = candidates.precision
    reached = np.flatnonzero(_reaches(precision, floor))
    if not len(reached):
        best = int(np.flatnonzero(precision == precision.max())[-1])
        raise ValueError(
            "no threshold reaches calibrator.precision_floor: the best precision is "
            f"{precision[best]:.4f}, at a recall of {candidates.recall[best]:.4f}; lower it or "
            f"train a better model. Received: {floor:g}"
        )
    held = reached[_reaches(expected.precision[reached], floor)]
    if not len(held):
        return int(reached[np.argmax(expected.precision[reached])])
    return int(held[np.argmax(candidates.true_positives[held])])


def _reaches(precision: np.ndarray | float, floor: float) -> np.ndarray | bool:
    """Returns whether a precision is at least the floor, up to rounding."""
    return precision >= floor * (1 - 1e-9)
