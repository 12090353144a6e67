"""Figures that the Calibrator promises for an operating point, against the true ones.

    python -m benchmarks.operating_point

Scores are binormal, as in benchmarks/intervals.py, for a weak and a strong model. Many val splits
are drawn, with the real world's balance, but with at most 20 negative images per positive one, each
of which then represents several. On each, every rule chooses its threshold, whose true recall,
precision and other figures are known. A row gives, for one rule, how far the figures are off on
average (the bias), on val itself and as promised, and the coverage: the share of promised
intervals that contain the true value. Bounds of rules are the values at the threshold of the
highest true F1, so that they can just be reached. The last line is JSON: over all rows, the mean
absolute bias, and the mean and the range of the coverage, by figure.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from components.calibrator import operating_point, rules
from components.calibrator.operating_point import OperatingPoint
from components.evaluator import metrics
from components.evaluator.metrics import Costs

PREVALENCES = (0.01, 0.1, 0.5)
POSITIVES = (20, 50, 200, 2000)
DISTANCES = (2.0, 3.5)
FIGURES = ("precision", "recall", "f1", "alerts_per_thousand", "expected_cost")
COSTS = Costs(missed=10, false_alarm=1)
REVIEW = 0.02
COLUMNS = {"distance": 8, "prevalence": 10, "positives": 9, "rule": 20, "reached": 7}
"""Columns of a row besides the figures, and their widths."""

_MOST_NEGATIVES_PER_POSITIVE = 20


@dataclass(frozen=True)
class World:
    """A binormal model and the share of positives of the images that it is used on.

    Attributes:
      distance: difference of the two means, in standard deviations of the scores within a class.
      prevalence: share of positives.
    """

    distance: float
    prevalence: float

    def rules(self) -> dict[str, dict[str, Any]]:
        """Returns the arguments of `choose` by rule; bounds are the values at the highest F1."""
        scores = np.linspace(-8, 8, 16_001)
        found = self.true_values(scores)
        best = {name: float(values[np.argmax(found["f1"])]) for name, values in found.items()}
        return {
            rules.BEST_F1: {},
            rules.BEST_FBETA: {rules.BETA: 2.0},
            rules.RECALL_AT_PRECISION: {rules.PRECISION_FLOOR: best["precision"]},
            rules.PRECISION_AT_RECALL: {rules.RECALL_FLOOR: best["recall"]},
            rules.ALERTS_PER_THOUSAND: {rules.ALERTS: best["alerts_per_thousand"]},
            rules.EXPECTED_COST: {},
        }

    def draw(
        self, positives: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draws the probabilities and labels of a val split."""
        odds = min((1 - self.prevalence) / self.prevalence, _MOST_NEGATIVES_PER_POSITIVE)
        labels = np.repeat([1, 0], [positives, round(odds * positives)])
        scores = rng.normal(self.distance * (labels - 0.5))
        return (1 / (1 + np.exp(-scores))).astype(np.float32), labels

    def true_values(self, scores: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Returns the figures on infinitely many images of thresholds on the score."""
        rates = self._above(scores)
        return {
            **metrics.rates_at_prevalence(*rates, self.prevalence),
            **metrics.per_thousand(*rates, self.prevalence, COSTS),
        }

    def true_review(self, lower: float, upper: float) -> dict[str, float]:
        """Returns the figures of a review band on infinitely many images."""
        called, below = self._above(np.array([upper, lower])).T
        hits, alarms = self.prevalence * called[0], (1 - self.prevalence) * called[1]
        missed = self.prevalence * (1 - below[0])
        return {
            "share": float(
                self.prevalence * (below[0] - called[0])
                + (1 - self.prevalence) * (below[1] - called[1])
            ),
            "precision": float(hits / (hits + alarms)),
            "recall": float(hits / (hits + missed)),
            "recall_with_review": float(below[0]),
        }

    def _above(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns recall and false positive rate, (2, k)."""
        return np.stack([ndtr(side * self.distance / 2 - scores) for side in (1, -1)])


@dataclass(frozen=True)
class Case:
    """One row: a world, a number of positive images, and a rule.

    Attributes:
      review: largest share of images that is reviewed; 0 for none.
    """

    world: World
    positives: int
    rule: str
    review: float = 0.0

    def measure(self, trials: int) -> dict[str, Any]:
        """Draws val splits and compares what the rule promises on them with the true values."""
        rng = np.random.default_rng([self.positives, round(1000 * self.world.prevalence)])
        points = [self._choose(*self.world.draw(self.positives, rng)) for _ in range(trials)]
        reached = [point for point in points if point is not None]
        compared = [_compared(point, self.world) for point in reached]
        return {
            "distance": self.world.distance,
            "prevalence": self.world.prevalence,
            "positives": self.positives,
            "rule": f"{self.rule}, review" if self.review else self.rule,
            "reached": len(reached) / trials,
            **_means(compared),
        }

    def _choose(
        self, probabilities: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> OperatingPoint | None:
        """Returns the operating point; None if no threshold reaches what the rule requires."""
        try:
            return operating_point.choose(
                probabilities,
                labels,
                rule=self.rule,
                prevalence=self.world.prevalence,
                costs=COSTS,
                review=self.review,
                promised=True,
                **self.world.rules()[self.rule],
            )
        except ValueError:
            return None


class Compared(NamedTuple):
    """One figure of one split: errors on val (NaN if not known) and as promised, and coverage."""

    on_val: float
    promised: float
    covered: bool


def _compared(point: OperatingPoint, world: World) -> dict[str, Compared]:
    if point.promised is None:
        raise ValueError("the operating point must have promised figures")
    score = np.log(point.threshold) - np.log1p(-point.threshold)
    true = {name: float(value) for name, value in world.true_values(score).items()}
    found = {name: _compare(name, true[name], point, point.promised) for name in FIGURES}
    if point.review is None:
        return found
    lower, upper = (
        np.log(point.review[end]) - np.log1p(-point.review[end]) for end in ("lower", "upper")
    )
    true = world.true_review(lower, upper)
    review = point.promised["review"]
    return found | {f"reviewed {name}": _compare(name, true[name], None, review) for name in true}


def _compare(
    name: str, true: float, point: OperatingPoint | None, promised: dict[str, Any]
) -> Compared:
    low, high = promised["intervals"][name]
    on_val = getattr(point, name, math.nan)
    return Compared(on_val - true, promised[name] - true, low <= true <= high)


def _means(compared: list[dict[str, Compared]]) -> dict[str, dict[str, float]]:
    """Returns the means over the splits, by figure."""
    if not compared:
        return {}
    return {
        name: {
            "bias_on_val": float(np.mean([each[name].on_val for each in compared])),
            "bias": float(np.mean([each[name].promised for each in compared])),
            "coverage": float(np.mean([each[name].covered for each in compared])),
        }
        for name in compared[0]
    }


def cases() -> Iterator[Case]:
    """Yields the rows: every rule in every world, and the review band of one rule."""
    for distance in DISTANCES:
        for prevalence in PREVALENCES:
            world = World(distance, prevalence)
            for positives in POSITIVES:
                for rule in world.rules():
                    yield Case(world, positives, rule)
                yield Case(world, positives, rules.BEST_F1, REVIEW)


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the mean absolute biases and the mean and range of the coverage, by figure."""
    figures = dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)
    return {name: _summary([row[name] for row in rows if name in row]) for name in figures}


def _summary(found: Sequence[dict[str, float]]) -> dict[str, float]:
    coverage = [each["coverage"] for each in found]
    summary = {
        "bias_on_val": float(np.mean([abs(each["bias_on_val"]) for each in found])),
        "bias": float(np.mean([abs(each["bias"]) for each in found])),
        "coverage": float(np.mean(coverage)),
        "lowest": min(coverage),
        "highest": max(coverage),
    }
    return {name: round(value, 4) for name, value in summary.items() if not math.isnan(value)}


def _print(row: dict[str, Any]) -> None:
    words = [
        f"{name} {found['bias_on_val']:+.3f} {found['bias']:+.3f} {found['coverage']:.3f}"
        for name, found in row.items()
        if name not in COLUMNS
    ]
    start = " ".join(
        f"{row[name]:>{width}}" for name, width in COLUMNS.items() if name != "reached"
    )
    print(f"{start}  {row['reached']:7.1%}  {'  '.join(words)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=60, help="number of val splits per row")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="number of processes")
    options = parser.parse_args(arguments)
    print(" ".join(f"{name:>{width}}" for name, width in COLUMNS.items()), end="  ")
    print("then by figure: bias on val, bias of the promised figure, coverage of its interval")
    rows = []
    for row in _measured(list(cases()), options.trials, options.workers):
        _print(row)
        rows.append(row)
    print(json.dumps(summarize(rows)))


def _measured(every: Sequence[Case], trials: int, workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from (case.measure(trials) for case in every)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(Case.measure, every, [trials] * len(every))


if __name__ == "__main__":
    main()
