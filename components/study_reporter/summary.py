"""Everything a study came to, in numbers: the content of `study.json`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluator import intervals
from components.imbalance_sampler import census
from components.study_reporter import answer, bootstrap, comparisons, record, scores
from components.study_reporter.comparisons import Judged
from components.study_reporter.contest import SIGNIFICANCE
from components.study_reporter.record import Arm

GRID = tuple(hundredths / 100 for hundredths in range(1, 100))
"""The thresholds that pooled confusion matrices are given at."""


def summarize(
    arms: Sequence[Arm], tests: comparisons.Tests, *, title: str, study: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures, comparisons and the answer, as plain JSON values.

    Args:
      arms: in the study's order.
      tests: what `judge` gives of them.
      title: what the page is called.
      study: `name`, `comparisons`, `baseline`, `settings` and `prevalence`, see
        `components.study_reporter.component`.

    Raises:
      ValueError: arms do not fit together, or the study names an arm that is not there.
    """
    wanted = comparisons.pairs(
        [arm.name for arm in arms],
        study.get("comparisons", comparisons.ALL),
        study.get("baseline") or arms[0].name,
    )
    prevalence = real_prevalence(arms, study.get("prevalence"))
    figures: dict[str, Any] = {
        "title": title,
        "name": study["name"],
        "prevalence": prevalence,
        "positive_classes": positive_classes(arms),
        "splits": _splits(arms, tests),
        "arms": [_arm(arm, tests, prevalence) for arm in arms],
        "comparisons": comparisons.compare_all(tests, wanted),
        "mcnemar": comparisons.mcnemar_all(tests, wanted),
        "pooled": _pooled(tests),
        "method": _method(prevalence),
        "settings": study.get("settings"),
    }
    figures["answer"] = answer.of_study(figures)
    return plain(figures)


def judge(arms: Sequence[Arm], prevalence: float | None) -> dict[str, dict[str, Judged]]:
    """What each arm with a trained replicate scores, by test split and arm.

    Args:
      arms: in the study's order.
      prevalence: see `real_prevalence`; the arms' own thresholds are chosen for it.

    Raises:
      ValueError: arms have different images in a split, or a split has one side only.
    """
    record.check_same_images(arms)
    tests: dict[str, dict[str, Judged]] = {}
    for arm in arms:
        if not arm.trained:
            continue
        own = scores.own_thresholds(arm, prevalence)
        thresholds = {scores.AT_HALF: np.full_like(own, 0.5), scores.AT_OWN: own}
        for split in arm.test_splits:
            found = arm.scores[split]
            _check_both_sides(found.labels, arm.name, split)
            values: dict[str | None, scores.Values] = {
                key: scores.at_thresholds(found, bounds) for key, bounds in thresholds.items()
            }
            values[None] = scores.free_of_threshold(found)
            numbers = [replicate.number for replicate in arm.trained]
            tests.setdefault(split, {})[arm.name] = Judged(found, numbers, thresholds, values)
    return tests


def positive_classes(arms: Sequence[Arm]) -> list[str]:
    """The classes that are looked for, by name."""
    return sorted(name for name, label in record.class_counts(arms) if label == 1)


def plain(value: Any) -> Any:
    """JSON's own types, with None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def real_prevalence(arms: Sequence[Arm], asked: float | Mapping[str, float] | None) -> float | None:
    """The real world's share of positives; None where the study gives none.

    Args:
      arms: whose classes have weights.
      asked: the share itself, or the weight of each class or side.

    Raises:
      ValueError: the weights don't fit the classes, or the share isn't between 0 and 1.
    """
    counts = record.class_counts(arms)
    if asked is None or not counts:
        return None
    if isinstance(asked, Mapping):
        return census.prevalence(asked, census.Census.of(counts))
    if not 0 < asked < 1:
        raise ValueError(f"the study's prevalence must be between 0 and 1. Received: {asked}")
    return float(asked)


def _check_both_sides(labels: np.ndarray, arm: str, split: str) -> None:
    positives = int(labels.sum())
    if positives in (0, labels.size):
        raise ValueError(
            f"arm {arm!r} is tested on split {split!r} with {positives} positive and "
            f"{labels.size - positives} negative images; it needs some of both"
        )


def _splits(arms: Sequence[Arm], tests: comparisons.Tests) -> dict[str, dict[str, Any]]:
    """Sizes of every split that an arm uses, those that are tested on by their images."""
    found: dict[str, dict[str, Any]] = {}
    for arm in arms:
        for split, sizes in arm.about["splits"].items():
            found.setdefault(split, {**sizes, "is_test": split in tests})
    for split, judged in tests.items():
        labels = next(iter(judged.values())).scores.labels
        positives = int(labels.sum())
        found[split] = {
            "positives": positives,
            "negatives": labels.size - positives,
            "is_test": True,
        }
    return found


def _arm(arm: Arm, tests: comparisons.Tests, prevalence: float | None) -> dict[str, Any]:
    judged = {split: tests[split][arm.name] for split in arm.test_splits} if arm.trained else {}
    own = next((found.thresholds[scores.AT_OWN] for found in judged.values()), np.empty(0))
    return {
        **arm.about,
        "replicates": {
            "asked": len(arm.replicates),
            "trained": [replicate.number for replicate in arm.trained],
            "diverged": [
                {"replicate": replicate.number, "detail": replicate.diverged}
                for replicate in arm.diverged
            ],
        },
        "threshold": {**scores.estimate(own), "values": own.tolist()},
        "tests": {split: _test(found, prevalence) for split, found in judged.items()},
        "epochs": _epochs(arm),
    }


def _test(found: Judged, prevalence: float | None) -> dict[str, Any]:
    at = {key: scores.estimates(found.values[key]) for key in scores.THRESHOLDS}
    world = None
    if prevalence is not None:
        world = {
            key: scores.estimates(scores.at_prevalence(found.values[key], prevalence))
            for key in scores.THRESHOLDS
        }
    return {**at, **scores.estimates(found.values[None]), "at_prevalence": world}


def _epochs(arm: Arm) -> list[dict[str, Any]]:
    """Loss by epoch over the trained replicates that came so far."""
    rows = []
    for index in range(max((len(each.epochs) for each in arm.trained), default=0)):
        came = [each.epochs[index] for each in arm.trained if len(each.epochs) > index]
        row: dict[str, Any] = {"epoch": index + 1}
        for key in ("loss", "val_loss"):
            values = [epoch[key] for epoch in came if epoch.get(key) is not None]
            row[key] = scores.estimate(values, upper=math.inf)
        rows.append(row)
    return rows


def _pooled(tests: comparisons.Tests) -> dict[str, Any]:
    return {
        "thresholds": list(GRID),
        "splits": {
            split: {name: scores.pooled(arm.scores, GRID) for name, arm in judged.items()}
            for split, judged in tests.items()
        },
    }


def _method(prevalence: float | None) -> dict[str, Any]:
    balance = "val's own balance" if prevalence is None else "the population's balance"
    return {
        "confidence": intervals.CONFIDENCE,
        "significance": SIGNIFICANCE,
        "bootstrap_draws": bootstrap.DRAWS,
        "threshold_rule": f"best_f1 on val, smoothed, at {balance}",
        "undefined": "a rate whose denominator is 0 is null and left out of means",
    }
