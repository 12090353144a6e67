"""All results of a study in numbers: the content of `study.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.evaluator import intervals
from components.evaluator.metrics import Costs
from components.imbalance_sampler import census
from components.study_reporter import (
    answer,
    bootstrap,
    calibrated,
    comparisons,
    overlap,
    quality,
    record,
    scores,
)
from components.study_reporter.comparisons import EvaluatedArm
from components.study_reporter.ranking import SIGNIFICANCE
from components.study_reporter.record import Arm

GRID = tuple(hundredths / 100 for hundredths in range(1, 100))
"""Thresholds of the pooled confusion matrices."""


def summarize(
    arms: Sequence[Arm],
    tests: comparisons.Tests,
    *,
    title: str,
    study: Mapping[str, Any],
    curve: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns figures, comparisons and the answer, as plain JSON values.

    Args:
      arms: in the study's order.
      tests: the evaluated arms, see `evaluate`.
      title: title of the page.
      study: `name`, `comparisons`, `baseline`, `settings`, `prevalence` and `costs`, see
        `components.study_reporter.component`.
      curve: see `components.study_reporter.curve`; None without a learning curve.

    Raises:
      ValueError: the prevalence is invalid, or the study names an arm that does not exist.
    """
    pairs = comparisons.pairs(
        [arm.name for arm in arms],
        study.get("comparisons", comparisons.ALL),
        study.get("baseline") or arms[0].name,
    )
    prevalence = real_prevalence(arms, study.get("prevalence"))
    figures: dict[str, Any] = {
        "title": title,
        "name": study["name"],
        "prevalence": prevalence,
        "costs": asdict(quality.costs_of(study)),
        "positive_classes": positive_classes(arms),
        "splits": _splits(arms, tests),
        "arms": [_arm(arm, tests) for arm in arms],
        "comparisons": comparisons.compare_all(tests, pairs),
        "mcnemar": comparisons.mcnemar_all(tests, pairs),
        "calibration": {"comparisons": comparisons.calibrated_all(tests, pairs)},
        "pooled": _pooled(tests),
        "method": _method(prevalence, arms),
        "settings": study.get("settings"),
    }
    if curve is not None:
        figures["curve"] = dict(curve)
    figures["answer"] = answer.of_study(figures)
    return plain(figures)


def evaluate(
    arms: Sequence[Arm], prevalence: float | None, costs: Costs = quality.EQUAL_COSTS
) -> dict[str, dict[str, EvaluatedArm]]:
    """Evaluates each arm with a trained replicate.

    Args:
      arms: in the study's order.
      prevalence: see `real_prevalence`; the arms' own thresholds and calibrations are for it.
      costs: costs of the wrong decisions.

    Returns:
      The evaluated arms, by test split and arm.

    Raises:
      ValueError: arms have different images in a split of the same draw, or a split has only
        positives or only negatives.
    """
    tests: dict[str, dict[str, EvaluatedArm]] = {}
    for arm in record.aligned(arms):
        if not arm.trained:
            continue
        draws = scores.Draws(arm.draws, overlap.of_arm(arm))
        own = scores.own_thresholds(arm, prevalence)
        thresholds = {scores.AT_HALF: np.full_like(own, 0.5), scores.AT_OWN: own}
        calibrations = calibrated.calibrations(arm, prevalence)
        for split in arm.test_splits:
            found = arm.scores[split]
            _check_both_sides(found.labels, arm.name, split)
            values: dict[str | None, scores.Values] = {
                key: scores.at_thresholds(found, bounds) for key, bounds in thresholds.items()
            }
            values[None] = scores.threshold_free(found)
            real_world = None
            if prevalence is not None:
                real_world = scores.all_at_prevalence(values, found, prevalence)
            others = tests.setdefault(split, {})
            # The same for all arms, of which one may lack a draw.
            compared_at = next(
                (other.compared_at for other in others.values()),
                scores.compared_at(found, prevalence),
            )
            others[arm.name] = EvaluatedArm(
                scores=found,
                replicates=[replicate.number for replicate in arm.trained],
                thresholds=thresholds,
                values=values,
                at_prevalence=real_world,
                compared_at=compared_at,
                calibrated=calibrated.evaluate(
                    found, calibrations, prevalence, costs, compared_at=compared_at
                ),
                arm=arm,
                draws=draws,
            )
    return tests


def positive_classes(arms: Sequence[Arm]) -> list[str]:
    """Returns the sorted names of the positive classes."""
    return sorted(name for name, label in record.class_counts(arms) if label == 1)


def plain(value: Any) -> Any:
    """Converts a value to JSON types, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def real_prevalence(
    arms: Sequence[Arm], requested: float | Mapping[str, float] | None
) -> float | None:
    """Returns the real world's share of positives; None if the study has none.

    Args:
      arms: arms with the classes of the study.
      requested: the share, or the weight of each class or side.

    Raises:
      ValueError: the weights don't match the classes, or the share isn't between 0 and 1.
    """
    counts = record.class_counts(arms)
    if requested is None or not counts:
        return None
    if isinstance(requested, Mapping):
        return census.prevalence(requested, census.Census.of(counts))
    if not 0 < requested < 1:
        raise ValueError(f"the study's prevalence must be between 0 and 1. Received: {requested}")
    return float(requested)


def _check_both_sides(labels: np.ndarray, arm: str, split: str) -> None:
    positives = int(labels.sum())
    if positives in (0, labels.size):
        raise ValueError(
            f"test split {split!r} of arm {arm!r} must contain positive and negative images. "
            f"Received: {positives} positive and {labels.size - positives} negative"
        )


def _splits(arms: Sequence[Arm], tests: comparisons.Tests) -> dict[str, dict[str, Any]]:
    """Returns the sizes of all splits, in a draw.

    Those of test splits are counted in the predictions, where `images` is the number of different
    ones in all draws.
    """
    found: dict[str, dict[str, Any]] = {}
    for arm in arms:
        for split, sizes in arm.metadata["splits"].items():
            found.setdefault(split, {**sizes, "is_test": split in tests})
    for split, evaluated in tests.items():
        tested = next(iter(evaluated.values())).scores
        labels, _ = next(tested.by_replicate())
        positives = int(labels.sum())
        found[split] = {
            "positives": positives,
            "negatives": labels.size - positives,
            "images": tested.labels.size,
            "is_test": True,
        }
    return found


def _arm(arm: Arm, tests: comparisons.Tests) -> dict[str, Any]:
    evaluated = {split: tests[split][arm.name] for split in arm.test_splits} if arm.trained else {}
    own = next((found.thresholds[scores.AT_OWN] for found in evaluated.values()), np.empty(0))
    draws = next((found.draws for found in evaluated.values()), None)
    return {
        **arm.metadata,
        "replicates": {
            "asked": len(arm.replicates),
            "trained": [replicate.number for replicate in arm.trained],
            "diverged": [
                {"replicate": replicate.number, "detail": replicate.diverged}
                for replicate in arm.diverged
            ],
        },
        "threshold": {**scores.estimate(own, draws=draws), "values": own.tolist()},
        "tests": {split: _test(found) for split, found in evaluated.items()},
        "epochs": _epochs(arm),
    }


def _test(arm: EvaluatedArm) -> dict[str, Any]:
    return {
        **_estimates(arm.values, arm.draws),
        "at_prevalence": arm.at_prevalence and _estimates(arm.at_prevalence, arm.draws),
        "compared_at": arm.compared_at,
        "calibration": calibrated.summary(arm.calibrated, arm.draws),
    }


def _estimates(values: Mapping[str | None, scores.Values], draws: scores.Draws) -> dict[str, Any]:
    by_threshold = {key: scores.estimates(values[key], draws) for key in scores.THRESHOLDS}
    return {**by_threshold, **scores.estimates(values[None], draws)}


def _epochs(arm: Arm) -> list[dict[str, Any]]:
    """Summarizes the loss by epoch, over the trained replicates that reached the epoch."""
    rows = []
    for index in range(max((len(each.epochs) for each in arm.trained), default=0)):
        reached = [each.epochs[index] for each in arm.trained if len(each.epochs) > index]
        row: dict[str, Any] = {"epoch": index + 1}
        for key in ("loss", "val_loss"):
            values = [epoch[key] for epoch in reached if epoch.get(key) is not None]
            row[key] = scores.estimate(values, upper=math.inf)
        rows.append(row)
    return rows


def _pooled(tests: comparisons.Tests) -> dict[str, Any]:
    return {
        "thresholds": list(GRID),
        "splits": {
            split: {name: scores.pooled(arm.scores, GRID) for name, arm in evaluated.items()}
            for split, evaluated in tests.items()
        },
    }


def _method(prevalence: float | None, arms: Sequence[Arm]) -> dict[str, Any]:
    balance = "val's own balance" if prevalence is None else "the population's balance"
    return {
        "confidence": intervals.CONFIDENCE,
        "significance": SIGNIFICANCE,
        "bootstrap_draws": bootstrap.DRAWS,
        "split_draws": max((int(arm.metadata.get("draws", 1)) for arm in arms), default=1),
        "power": bootstrap.POWER,
        "calibration": f"by the Calibrator's method on val, for {balance}",
        "threshold_rule": f"best_f1 on val, smoothed, at {balance}",
        "undefined": "a rate whose denominator is 0 is null and excluded from means",
    }
