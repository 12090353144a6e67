"""How often the Evaluator's 95 % intervals hold the truth, by the number of positive images.

    python -m benchmarks.intervals

Scores are binormal: those of positive images lie a distance above those of the others, from a
weak model (0.5 standard deviations) to a nearly perfect one (4), one positive to ten others in
the real world. A split is drawn many times, at that balance or at one to one, and each interval
is asked whether it holds the model's true figure at the real balance. The last line is JSON:
the lowest and the mean share by metric.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from components.evaluator import intervals, metrics

PREVALENCE = 1 / 11
DISTANCES = (0.5, 1.5, 2.5, 4.0)
POSITIVES = (1, 2, 3, 5, 10, 20)
METRICS = ("recall", "precision", "f1", "accuracy", "pr_auc", "auc")


@dataclass(frozen=True)
class Model:
    """A binormal model, cut where its F1 is best.

    Attributes:
      distance: of the two means, in standard deviations of the scores within a class.
    """

    distance: float

    @property
    def _rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        thresholds = np.linspace(-8, 8 + self.distance, 20_001)[::-1]
        return thresholds, ndtr(self.distance - thresholds), ndtr(-thresholds)

    @property
    def threshold(self) -> float:
        """Where F1 is highest."""
        thresholds, recall, false_positive_rate = self._rates
        found = metrics.rates_at_prevalence(recall, false_positive_rate, PREVALENCE)
        return float(thresholds[np.argmax(found["f1"])])

    @property
    def truth(self) -> dict[str, float]:
        """Its figures on endlessly many images."""
        _, recall, false_positive_rate = self._rates
        at = [ndtr(self.distance - self.threshold), ndtr(-self.threshold)]
        precision = metrics.rates_at_prevalence(recall, false_positive_rate, PREVALENCE)
        return {
            **{key: float(x) for key, x in metrics.rates_at_prevalence(*at, PREVALENCE).items()},
            "pr_auc": float(np.trapezoid(precision["precision"], recall)),
            "auc": NormalDist().cdf(self.distance / np.sqrt(2)),
        }

    def held(self, positives: int, negatives: int, *, trials: int) -> dict[str, float]:
        """Share of drawn splits whose interval holds the truth, by metric."""
        rng = np.random.default_rng([positives, negatives, round(10 * self.distance)])
        labels = np.repeat([1, 0], [positives, negatives])
        truth, threshold = self.truth, self.threshold
        found = [
            _intervals(labels, rng.normal(self.distance * labels), threshold) for _ in range(trials)
        ]
        return {
            metric: float(np.mean([_holds(bounds[metric], truth[metric]) for bounds in found]))
            for metric in METRICS
        }


def _intervals(
    labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
) -> dict[str, intervals.Interval]:
    counts = metrics.confusion(labels, scores >= threshold)
    return {
        **intervals.at_prevalence(counts, PREVALENCE, seed=0),
        **intervals.of_areas(labels, scores, seed=0, prevalence=PREVALENCE),
    }


def _holds(bounds: intervals.Interval, value: float) -> bool:
    """Where nothing is said, nothing wrong is."""
    return bounds is None or bounds[0] <= value <= bounds[1]


def measure(trials: int) -> Iterator[dict[str, float]]:
    """A row for each model, number of positives and balance of the split."""
    for distance in DISTANCES:
        for positives in POSITIVES:
            for others in (10, 1):
                held = Model(distance).held(positives, others * positives, trials=trials)
                yield {"distance": distance, "positives": positives, "others": others, **held}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=400, help="splits drawn for each row")
    asked = parser.parse_args(arguments)
    rows = []
    print("distance  positives  others  " + "  ".join(f"{name:>9}" for name in METRICS))
    for row in measure(asked.trials):
        rows.append(row)
        shares = "  ".join(f"{row[name]:9.3f}" for name in METRICS)
        print(f"{row['distance']:8}  {row['positives']:9}  {row['others']:6}  {shares}", flush=True)
    summary = {
        name: {
            "lowest": min(row[name] for row in rows),
            "mean": round(float(np.mean([row[name] for row in rows])), 3),
        }
        for name in METRICS
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
