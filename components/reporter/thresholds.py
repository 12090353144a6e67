"""Counts and figures at many thresholds, among which the page's slider chooses.

The slider needs no images: the counts of true and false positives at about 200 thresholds are
enough for every figure, at the balance of the test split and at that of the real world.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_PER_SIDE = 99
_THOUSAND = 1000


@dataclass(frozen=True)
class Thresholds:
    """Thresholds in increasing order, and the images that each one calls positive.

    Attributes:
      thresholds: float32 (k,); a probability of at least the threshold is positive.
      true_positives: int64 (k,).
      false_positives: int64 (k,).
      positives: number of positive images.
      negatives: number of negative images.
      start: index of the model's threshold.
    """

    thresholds: NDArray[np.float32]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    positives: int
    negatives: int
    start: int

    def at(
        self, index: int, prevalence: float, costs: Mapping[str, float] | None
    ) -> dict[str, float | None]:
        """Returns the figures at one threshold; None if undefined.

        Args:
          index: of the threshold.
          prevalence: share of positives.
          costs: costs of a `missed` positive and of a `false_alarm`; None if they are not known.

        Returns:
          `tp`, `fn`, `fp`, `tn` and `alerts`, per 1,000 images at the prevalence; `recall`,
          `precision`, `f1`; and `cost`, per 1,000 images.
        """
        recall = self.true_positives[index] / self.positives
        false_positive_rate = self.false_positives[index] / self.negatives
        tp, fn = _THOUSAND * prevalence * np.array([recall, 1 - recall])
        rest = _THOUSAND * (1 - prevalence)
        fp, tn = rest * np.array([false_positive_rate, 1 - false_positive_rate])
        called = tp + fp
        return {
            "tp": float(tp),
            "fn": float(fn),
            "fp": float(fp),
            "tn": float(tn),
            "alerts": float(called),
            "recall": float(recall),
            "precision": float(tp / called) if called else None,
            "f1": float(2 * tp / (called + tp + fn)),
            "cost": float(costs["missed"] * fn + costs["false_alarm"] * fp) if costs else None,
        }

    def to_json(self, prevalences: Mapping[str, float], costs: Mapping[str, float] | None) -> dict:
        """Returns what the slider's script reads.

        Args:
          prevalences: share of positives by name of the balance.
          costs: see `at`.
        """
        return {
            # The shortest text that is the same float32.
            "thresholds": [float(str(threshold)) for threshold in self.thresholds],
            "tp": self.true_positives.tolist(),
            "fp": self.false_positives.tolist(),
            "positives": self.positives,
            "negatives": self.negatives,
            "start": self.start,
            "prevalences": dict(prevalences),
            "costs": dict(costs) if costs else None,
        }


def count(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> Thresholds:
    """Counts the images at the model's threshold and at up to 198 others.

    The others are spread evenly over recall, and by equal factors over the number of false alarms,
    where precision changes most.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both must occur.
      probabilities: float32 (n,).
      threshold: the model's threshold.
    """
    truth = np.asarray(labels, bool)
    scores = np.asarray(probabilities, np.float32)
    positive, negative = np.sort(scores[truth]), np.sort(scores[~truth])
    evenly = np.linspace(0, positive.size - 1, _PER_SIDE).round().astype(int)
    by_factors = negative.size - np.geomspace(1, negative.size, _PER_SIDE).round().astype(int)
    chosen = np.float32(threshold)
    thresholds = np.unique(np.concatenate([positive[evenly], negative[by_factors], [chosen]]))
    return Thresholds(
        thresholds=thresholds,
        true_positives=positive.size - np.searchsorted(positive, thresholds),
        false_positives=negative.size - np.searchsorted(negative, thresholds),
        positives=positive.size,
        negatives=negative.size,
        start=int(np.searchsorted(thresholds, chosen)),
    )
