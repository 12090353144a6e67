"""Every replicate of an arm, calibrated as the Calibrator would, and what that changes.

A replicate is calibrated on its arm's own val, for the population's prevalence, without training it
again: by the closed form for the balance of its training and by a map, see
`components.calibrator.calibration`. `before` are the models' own scores, `after` the calibrated
probabilities.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.calibrator.calibration import Calibration, calibrate
from components.evaluator import probability_quality
from components.evaluator.metrics import Costs
from components.study_reporter import quality, scores
from components.study_reporter.record import Arm, SplitScores
from components.study_reporter.scores import Values
from components.training_balance import TrainingBalance

BEFORE, AFTER = "before", "after"
STAGES = (BEFORE, AFTER)
QUALITY = probability_quality.METRICS
"""Metrics of the probabilities, lower is better: at the prevalence that they are calibrated for."""
_HALF = 0.5


@dataclass(frozen=True)
class CalibratedArm:
    """An arm on a test split, before and after its calibration.

    Attributes:
      prevalence: share of positives to which the images are weighted for `quality`.
      maps: name of each replicate's map.
      scores: probabilities of the replicates by stage.
      quality: `QUALITY` of each replicate at the prevalence, by stage.
      at_half: counts and rates of each replicate at a threshold of 0.5, by stage; the rates are at
        the share of positives at which arms are compared.
      recalibration: `quality.METRICS` of each replicate at the prevalence, by stage.
    """

    prevalence: float
    maps: list[str]
    scores: Mapping[str, SplitScores]
    quality: Mapping[str, Values]
    at_half: Mapping[str, Values]
    recalibration: Mapping[str, Values] = field(default_factory=dict)

    def predicted_positive(self, stage: str) -> NDArray[np.bool_]:
        """Returns the images that each replicate classifies as positive at 0.5, (replicates, n)."""
        return self.scores[stage].probabilities >= np.float32(_HALF)  # False for NaN

    def losses(self, metric: str, stage: str) -> NDArray[np.float64]:
        """Returns a metric of `probability_quality.LOSSES` for each image, (replicates, n).

        It is NaN for images that are not in the split of a replicate's draw.
        """
        found = self.scores[stage]
        loss = probability_quality.LOSSES[metric]
        return loss(found.labels == 1, found.probabilities.astype(np.float64))


def calibrations(arm: Arm, prevalence: float | None) -> list[Calibration]:
    """Calibrates each trained replicate on the arm's val.

    Args:
      arm: must have at least one trained replicate.
      prevalence: the population's share of positives; None for val's own.

    Raises:
      ValueError: val has only positives or only negatives.
    """
    val, recorded = arm.scores[arm.val_split], arm.metadata.get("training_balance")
    balance = None if recorded is None else TrainingBalance.from_mapping(recorded)
    # The seeds of a head that is solved have the same scores, and a calibration is cross-validated.
    known: dict[tuple[bytes, bytes], Calibration] = {}

    def of(labels: NDArray[np.int64], row: NDArray[np.float32]) -> Calibration:
        key = labels.tobytes(), row.tobytes()
        if key not in known:
            known[key] = calibrate(row, labels, prevalence=prevalence, balance=balance)
        return known[key]

    try:
        return [of(labels, row) for labels, row in val.by_replicate()]
    except ValueError as error:
        raise ValueError(f"arm {arm.name!r}, split {arm.val_split!r}: {error}") from error


def evaluate(
    found: SplitScores,
    calibrated: Sequence[Calibration],
    prevalence: float | None,
    costs: Costs = quality.EQUAL_COSTS,
    *,
    compared_at: float | None = None,
) -> CalibratedArm:
    """Evaluates an arm on a test split.

    Args:
      found: probabilities of the trained replicates.
      calibrated: the calibration of each, in the same order.
      prevalence: the population's share of positives; None for the split's own.
      costs: costs of the wrong decisions.
      compared_at: the share of positives for `at_half`; None for the split's own.
    """
    rows = np.full_like(found.probabilities, np.nan)
    for index, (each, (_, scored)) in enumerate(zip(calibrated, found.by_replicate(), strict=True)):
        rows[index, found.present[index]] = each.probabilities(scored)
    stages = {BEFORE: found, AFTER: replace(found, probabilities=rows)}
    share = found.share if prevalence is None else prevalence
    return CalibratedArm(
        prevalence=share,
        maps=[each.map.name for each in calibrated],
        scores=stages,
        quality={stage: _quality(each, share) for stage, each in stages.items()},
        at_half={stage: _at_half(each, compared_at) for stage, each in stages.items()},
        recalibration={
            stage: quality.figures(each, share, costs) for stage, each in stages.items()
        },
    )


def _at_half(found: SplitScores, compared_at: float | None) -> Values:
    values = scores.at_thresholds(found, [_HALF] * len(found.probabilities))
    return values if compared_at is None else values | scores.at_prevalence(values, compared_at)


def _quality(found: SplitScores, prevalence: float) -> Values:
    rows = [
        probability_quality.figures(labels, row, prevalence) for labels, row in found.by_replicate()
    ]
    return {name: np.array([row[name] for row in rows]) for name in QUALITY}


def summary(arm: CalibratedArm, draws: scores.Draws | None = None) -> dict[str, Any]:
    """Returns the figures of `study.json`: means and intervals over replicates, by stage."""
    return {
        "prevalence": arm.prevalence,
        "maps": dict(Counter(arm.maps)),
        **{
            stage: {
                **scores.estimates(arm.quality[stage], draws),
                **scores.estimates(arm.at_half[stage], draws),
                **quality.estimates(arm.recalibration[stage]),
            }
            for stage in STAGES
        },
    }
