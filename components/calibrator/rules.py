"""The rules by which an operating point is chosen among candidates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.calibrator.outcomes import Outcomes
from components.evaluator.metrics import Costs

BEST_F1 = "best_f1"
BEST_FBETA = "best_fbeta"
RECALL_AT_PRECISION = "recall_at_precision"
PRECISION_AT_RECALL = "precision_at_recall"
ALERTS_PER_THOUSAND = "alerts_per_thousand"
EXPECTED_COST = "expected_cost"
FIXED = "fixed"
RULES = (
    BEST_F1,
    BEST_FBETA,
    RECALL_AT_PRECISION,
    PRECISION_AT_RECALL,
    ALERTS_PER_THOUSAND,
    EXPECTED_COST,
    FIXED,
)

BETA = "beta"
PRECISION_FLOOR = "precision_floor"
RECALL_FLOOR = "recall_floor"
ALERTS = "alerts"
COSTS = "costs"
THRESHOLD = "threshold"

KEYS = {
    BEST_FBETA: BETA,
    RECALL_AT_PRECISION: PRECISION_FLOOR,
    PRECISION_AT_RECALL: RECALL_FLOOR,
    ALERTS_PER_THOUSAND: ALERTS,
    EXPECTED_COST: COSTS,
    FIXED: THRESHOLD,
}
"""The setting that a rule requires; `best_f1` requires none."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with its settings.

    Attributes:
      name: one of `RULES`.
      beta: for `best_fbeta`: how many times as much recall counts as precision; above 0.
      precision_floor: for `recall_at_precision`, 0 to 1.
      recall_floor: for `precision_at_recall`, 0 to 1.
      alerts: for `alerts_per_thousand`: the most images called positive per 1,000; above 0.
      costs: for `expected_cost`; with any other rule, the figures include the expected cost.
      threshold: for `fixed`, 0 to 1.
    """

    name: str
    beta: float = 1.0
    precision_floor: float = 0.0
    recall_floor: float = 0.0
    alerts: float = 1000.0
    costs: Costs | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(
                f"calibrator.rule must be one of {list(RULES)}. Received: {self.name!r}"
            )
        if self.name == EXPECTED_COST and self.costs is None:
            raise ValueError(f"calibrator.costs is required for calibrator.rule {self.name}")
        _check_range(PRECISION_FLOOR, self.precision_floor)
        _check_range(RECALL_FLOOR, self.recall_floor)
        _check_range(THRESHOLD, self.threshold)
        _check_positive(BETA, self.beta, np.inf)
        _check_positive(ALERTS, self.alerts, 1000)

    def settings(self) -> dict[str, float | None]:
        """Returns the setting of each rule that has one number; None for the other rules."""
        return {
            key: getattr(self, key) if KEYS.get(self.name) == key else None
            for key in (BETA, PRECISION_FLOOR, RECALL_FLOOR, ALERTS)
        }


def _check_range(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"calibrator.{key} must be from 0 to 1. Received: {value}")


def _check_positive(key: str, value: float, most: float) -> None:
    if not (0 < value <= most and np.isfinite(value)):
        limit = f" and at most {most:,}" if np.isfinite(most) else ""
        raise ValueError(f"calibrator.{key} must be above 0{limit}. Received: {value}")


@dataclass(frozen=True)
class Choice:
    """The candidate that a rule chooses.

    Attributes:
      index: its index.
      reached: whether it reaches what the rule requires on the images; if not, it comes closest.
      held: whether it is expected to reach it on new images as well.
    """

    index: int
    reached: bool = True
    held: bool = True


def select(rule: Rule, found: Outcomes, expected: Outcomes) -> Choice:
    """Chooses a candidate; of several that are equally good, the first.

    A rule that maximizes a figure compares what is expected on new images, as the highest value on
    the images themselves is due to chance. A rule with a bound requires it both on the images and
    as expected on new ones; if no candidate that reaches the bound is expected to hold it, the one
    of these that is expected to come closest is chosen.

    Args:
      rule: any but `fixed`.
      found: counts on the images, from the highest threshold to the lowest.
      expected: counts expected on new images, at the same thresholds.
    """
    if rule.name in _BOUNDED:
        return _within(*_BOUNDED[rule.name](rule, found, expected))
    return Choice(int(np.argmax(_objective(rule, expected))))


def _objective(rule: Rule, expected: Outcomes) -> NDArray[np.float64]:
    if rule.name == EXPECTED_COST and rule.costs is not None:
        return -expected.expected_cost(rule.costs)
    if rule.name == FIXED:
        return -expected.errors_per_thousand
    return expected.f_beta(rule.beta if rule.name == BEST_FBETA else 1.0)


class _Bounded(NamedTuple):
    """What `_within` compares: the bounded figure, found and expected, and the one to maximize."""

    floor: float
    found: NDArray[np.float64]
    expected: NDArray[np.float64]
    best: NDArray[np.float64]


_BOUNDED: dict[str, Callable[[Rule, Outcomes, Outcomes], _Bounded]] = {
    RECALL_AT_PRECISION: lambda rule, found, expected: _Bounded(
        rule.precision_floor, found.precision, expected.precision, best=found.recall
    ),
    PRECISION_AT_RECALL: lambda rule, found, expected: _Bounded(
        rule.recall_floor, found.recall, expected.recall, best=expected.precision
    ),
    ALERTS_PER_THOUSAND: lambda rule, found, expected: _Bounded(
        -rule.alerts, -found.alerts_per_thousand, -expected.alerts_per_thousand, best=found.recall
    ),
}


def _within(
    floor: float,
    found: NDArray[np.float64],
    expected: NDArray[np.float64],
    best: NDArray[np.float64],
) -> Choice:
    """Chooses the highest `best` among the candidates whose figure reaches the floor."""
    reached = np.flatnonzero(reaches(found, floor))
    if not len(reached):
        # Of several, the last: the lowest threshold.
        return Choice(int(np.flatnonzero(found == found.max())[-1]), reached=False, held=False)
    held = reached[reaches(expected[reached], floor)]
    if not len(held):
        return Choice(int(reached[np.argmax(expected[reached])]), held=False)
    return Choice(int(held[np.argmax(best[held])]))


def reaches(values: NDArray, floor: float) -> NDArray[np.bool_]:
    """Returns whether values are at least the floor, up to rounding."""
    return np.asarray(values) >= floor - 1e-9 * abs(floor)
