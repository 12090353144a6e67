"""Chooses the probability from which an image is positive. Imports neither TensorFlow nor TFX.

An image is positive if its probability is at least the threshold, see
`components.calibrator.decision`. Precision, F1, alerts and costs depend on the prevalence, so every
rule weights the negatives of val such that the share of positives equals the population's.

A threshold does worse on new images than on those that it was chosen on. So a user is promised
figures from cross-fitting, see `components.calibrator.promises`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

import numpy as np

from components.calibrator import promises, remarks
from components.calibrator.decision import Decision, decide
from components.calibrator.outcomes import Outcomes
from components.calibrator.rules import (
    BEST_F1,
    FIXED,
    RECALL_AT_PRECISION,
    RULES,
    Rule,
)
from components.calibrator.val_scores import checked
from components.evaluator import intervals
from components.evaluator.metrics import Confusion, Costs

__all__ = ["BEST_F1", "FIXED", "RECALL_AT_PRECISION", "RULES", "OperatingPoint", "choose", "read"]

ASSET_NAME = "operating_point.json"
CALIBRATION = "calibration"
"""Key of the calibration in the asset."""

_SEED = 0


class OwnBalance(TypedDict):
    """Share of positives, precision and F1 of a threshold on unweighted val."""

    prevalence: float
    precision: float
    f1: float


class Review(TypedDict):
    """The images that a person reviews.

    Attributes:
      share: largest share of images, at the prevalence.
      lower: the lowest probability that is reviewed.
      upper: the probability from which an image is positive without a review.
    """

    share: float
    lower: float
    upper: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and its metrics on the images it was chosen on.

    Attributes:
      threshold: probability from which an image is positive, 0 to 1.
      rule: one of `rules.RULES`.
      beta: that of `best_fbeta`; None for other rules.
      precision_floor: the floor of `recall_at_precision`; None for other rules.
      recall_floor: the floor of `precision_at_recall`; None for other rules.
      alerts: the limit of `alerts_per_thousand`; None for other rules.
      costs: costs of wrong decisions; None if they are not known.
      review: the images that a person reviews; None if there are none.
      prevalence: share of positives to which the images were weighted.
      precision: at that prevalence; 0 if no image is predicted positive.
      precision_interval: its 95 % interval; None if no image is predicted positive.
      recall: share of the positives that are predicted positive.
      f1: harmonic mean of precision and recall, at that prevalence.
      positives: number of positive images it was chosen on.
      negatives: number of negative images it was chosen on.
      own_balance: the metrics that depend on the prevalence, at the images' own balance.
      promised: what to expect on new images, see `promises.promise`; None if not computed.
      remarks: caveats, one clause each.
    """

    threshold: float
    rule: str
    beta: float | None
    precision_floor: float | None
    recall_floor: float | None
    alerts: float | None
    costs: Costs | None
    review: Review | None
    prevalence: float
    precision: float
    precision_interval: tuple[float, float] | None
    recall: float
    f1: float
    positives: int
    negatives: int
    own_balance: OwnBalance
    promised: dict[str, Any] | None
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


def choose(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    rule: str,
    prevalence: float | None = None,
    review: float = 0.0,
    promised: bool = False,
    **settings: Any,
) -> OperatingPoint:
    """Chooses the operating point by a rule, at the prevalence.

    - `best_f1`, `best_fbeta`: the highest F1 or F-beta expected on new images, see
      `components.calibrator.smoothing`; of several thresholds, the highest.
    - `recall_at_precision`: the highest recall for which the precision, both on the images and
      expected on new ones, is at least the floor; of several thresholds, the one with the highest
      precision. If no threshold that reaches the floor is expected to hold it, the one of these
      with the highest expected precision.
    - `precision_at_recall`: likewise, the highest expected precision for which the recall is at
      least the floor.
    - `alerts_per_thousand`: likewise, the highest recall for which at most `alerts` of 1,000 images
      are called positive.
    - `expected_cost`: the least cost of wrong decisions expected on new images. With calibrated
      probabilities the threshold is near `false_alarm / (false_alarm + missed)`.
    - `fixed`: the given threshold.

    With a review band the same rule, applied to the images outside of the band, chooses its ends;
    for `fixed`, the fewest wrong decisions.

    Args:
      probabilities: float32 (n,), 0 to 1.
      labels: int (n,), 1 for positive and 0 for negative.
      rule: one of `RULES`.
      prevalence: share of positives in the population, above 0 and below 1, at which
        all figures but recall are computed; None for the images' own share.
      review: largest share of images, at the prevalence, that a person reviews; 0 for none.
      promised: whether to compute the figures to expect on new images, which takes a hundred times
        as long as the choice.
      **settings: those of the rules, see `rules.Rule`.

    Raises:
      ValueError: the rule or one of its settings is invalid, one side has no image, a probability
        is not a number from 0 to 1, the prevalence or the share to review is out of range, or no
        threshold reaches what the rule requires.
    """
    chosen_rule = Rule(name=rule, **settings)
    _check_review(review)
    probabilities, labels = checked(probabilities, labels)
    decision = decide(probabilities, labels, chosen_rule, prevalence=prevalence, review=review)
    if not decision.choice.reached:
        raise ValueError(remarks.unreachable(chosen_rule, decision.found))
    expected = promised and promises.promise(
        probabilities, labels, chosen_rule, decision, prevalence=prevalence, share=review
    )
    return _point(
        decision,
        labels,
        chosen_rule,
        prevalence=prevalence,
        share=review,
        promised=expected or None,
    )


def _point(
    decision: Decision,
    labels: np.ndarray,
    rule: Rule,
    *,
    prevalence: float | None,
    share: float,
    promised: dict[str, Any] | None,
) -> OperatingPoint:
    positives = int(labels.sum())
    negatives = len(labels) - positives
    found, own = decision.found, replace(decision.found, weight=1.0)
    population = positives / len(labels) if prevalence is None else prevalence
    bounds = intervals.at_prevalence(
        _confusion(found, positives, negatives), population, seed=_SEED
    )
    band = decision.band
    return OperatingPoint(
        threshold=decision.threshold,
        rule=rule.name,
        **rule.settings(),
        costs=rule.costs,
        review=Review(share=share, lower=band.lower, upper=band.upper) if band else None,
        prevalence=population,
        precision=float(found.precision[0]),
        precision_interval=bounds["precision"],
        recall=float(found.recall[0]),
        f1=float(found.f_beta(1)[0]),
        positives=positives,
        negatives=negatives,
        own_balance={
            "prevalence": positives / len(labels),
            "precision": float(own.precision[0]),
            "f1": float(own.f_beta(1)[0]),
        },
        promised=promised,
        remarks=tuple(
            remarks.describe(
                rule,
                decision,
                promised["intervals"] if promised else bounds,
                positives=positives,
            )
        ),
    )


def _confusion(found: Outcomes, positives: int, negatives: int) -> Confusion:
    tp, fp = int(found.true_positives[0]), int(found.false_positives[0])
    return Confusion(tp=tp, fp=fp, tn=negatives - fp, fn=positives - tp)


def _check_review(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"calibrator.review must be from 0 to below 1. Received: {share}")
