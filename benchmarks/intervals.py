"""Coverage of the Evaluator's 95 % intervals, by the number of positive images.

    python -m benchmarks.intervals

Scores are binormal: the mean of the positive images is higher than that of the negatives, by 0.5
standard deviations for a weak model up to 4 for a nearly perfect one. The real world has one
positive image per ten negatives, and the log odds of the model's probabilities are twice the true
ones, so it is overconfident. Many splits are drawn, with that balance and with one to one, and
the coverage is the share of intervals that contain the model's true value at the real balance. The
last line is JSON: the lowest and the mean coverage by metric.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from components.evaluator import intervals, metrics, probability_quality

PREVALENCE = 1 / 11
DISTANCES = (0.5, 1.5, 2.5, 4.0)
POSITIVES = (1, 2, 3, 5, 10, 20)
_SPACED = 200_000
METRICS = ("recall", "precision", "f1", "accuracy", "pr_auc", "auc", "ece", "brier", "log_loss")


@dataclass(frozen=True)
class Model:
    """A binormal model with the threshold of the highest F1.

    Attributes:
      distance: difference of the two means, in standard deviations of the scores within a class.
    """

    distance: float

    @property
    def _rates(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        thresholds = np.linspace(-8, 8 + self.distance, 20_001)[::-1]
        return thresholds, ndtr(self.distance - thresholds), ndtr(-thresholds)

    @property
    def threshold(self) -> float:
        """The threshold with the highest F1."""
        thresholds, recall, false_positive_rate = self._rates
        found = metrics.rates_at_prevalence(recall, false_positive_rate, PREVALENCE)
        return float(thresholds[np.argmax(found["f1"])])

    @property
    def true_values(self) -> dict[str, float]:
        """The metrics on infinitely many images."""
        _, recall, false_positive_rate = self._rates
        at = [ndtr(self.distance - self.threshold), ndtr(-self.threshold)]
        precision = metrics.rates_at_prevalence(recall, false_positive_rate, PREVALENCE)
        return {
            **{key: float(x) for key, x in metrics.rates_at_prevalence(*at, PREVALENCE).items()},
            "pr_auc": float(np.trapezoid(precision["precision"], recall)),
            "auc": NormalDist().cdf(self.distance / np.sqrt(2)),
            **self._true_quality,
        }

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the model's probabilities of scores."""
        return expit(2 * self._log_odds(scores))

    def _log_odds(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.distance * (scores - self.distance / 2) + logit(PREVALENCE)

    @property
    def _true_quality(self) -> dict[str, float]:
        """The metrics of the probabilities, from many images that are evenly spaced."""
        places = ndtri((np.arange(_SPACED) + 0.5) / _SPACED)
        labels = np.repeat([1, 0], _SPACED)
        values = self.probabilities(np.concatenate([places + self.distance, places]))
        return probability_quality.figures(labels, values, PREVALENCE)

    def coverage(self, positives: int, negatives: int, *, trials: int) -> dict[str, float]:
        """Returns the share of drawn splits whose interval contains the true value, by metric."""
        rng = np.random.default_rng([positives, negatives, round(10 * self.distance)])
        labels = np.repeat([1, 0], [positives, negatives])
        true_values, threshold = self.true_values, self.threshold
        found = [
            self._intervals(labels, rng.normal(self.distance * labels), threshold)
            for _ in range(trials)
        ]
        return {
            metric: float(np.mean([_contains(each[metric], true_values[metric]) for each in found]))
            for metric in METRICS
        }

    def _intervals(
        self, labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
    ) -> dict[str, intervals.Interval]:
        counts, values = metrics.confusion(labels, scores >= threshold), self.probabilities(scores)
        quality = probability_quality.reliability(labels, values, PREVALENCE, seed=0)
        return {
            **intervals.at_prevalence(counts, PREVALENCE, seed=0),
            **intervals.of_areas(labels, scores, seed=0, prevalence=PREVALENCE),
            **quality["intervals"],
        }


def _contains(bounds: intervals.Interval, value: float) -> bool:
    """Returns whether an interval contains a value; an undefined interval counts as correct."""
    return bounds is None or bounds[0] <= value <= bounds[1]


def measure(trials: int) -> Iterator[dict[str, float]]:
    """Yields one row per model, number of positives and balance of the split."""
    for distance in DISTANCES:
        for positives in POSITIVES:
            for others in (10, 1):
                shares = Model(distance).coverage(positives, others * positives, trials=trials)
                yield {"distance": distance, "positives": positives, "others": others, **shares}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the rows and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=400, help="number of splits per row")
    options = parser.parse_args(arguments)
    rows = []
    print("distance  positives  others  " + "  ".join(f"{name:>9}" for name in METRICS))
    for row in measure(options.trials):
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
