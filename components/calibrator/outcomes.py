"""Counts of the decisions at candidate thresholds, and the figures that rules compare."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from components.evaluator.metrics import Costs

_THOUSAND = 1000


@dataclass(frozen=True)
class Outcomes:
    """Decisions on the same images, one entry per candidate.

    Images that a person reviews are in none of the counts.

    Attributes:
      true_positives: (k,), positive images that are called positive.
      false_positives: (k,), negative images that are called positive.
      missed: (k,), positive images that are called negative.
      weight: weight of each negative image; each positive image has weight 1.
      images: weighted number of all images.
    """

    true_positives: NDArray
    false_positives: NDArray
    missed: NDArray
    weight: float
    images: float

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the images called positive that are positive; 0 if none is called positive."""
        return _ratio(self.true_positives, self._called)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the positive images that are called positive; 0 if there are none."""
        return _ratio(self.true_positives, self.true_positives + self.missed)

    def f_beta(self, beta: float) -> NDArray[np.float64]:
        """F-beta, in which recall counts `beta` times as much as precision; 0 if undefined."""
        squared = beta**2
        hits = (1 + squared) * self.true_positives
        errors = squared * self.missed + self.weight * self.false_positives
        return _ratio(hits, hits + errors)

    @property
    def alerts_per_thousand(self) -> NDArray[np.float64]:
        """Images called positive, per 1,000 images."""
        return _THOUSAND * self._called / self.images

    def expected_cost(self, costs: Costs) -> NDArray[np.float64]:
        """Cost of the wrong decisions, per 1,000 images."""
        missed = costs.missed * self.missed
        false_alarms = costs.false_alarm * self.weight * self.false_positives
        return _THOUSAND * (missed + false_alarms) / self.images

    @property
    def errors_per_thousand(self) -> NDArray[np.float64]:
        """Wrong decisions, per 1,000 images."""
        return self.expected_cost(Costs(missed=1, false_alarm=1))

    @property
    def _called(self) -> NDArray[np.float64]:
        return self.true_positives + self.weight * self.false_positives

    def at(self, index: int) -> "Outcomes":
        """Returns the outcomes of one candidate."""
        one = slice(index, index + 1)
        return replace(
            self,
            true_positives=self.true_positives[one],
            false_positives=self.false_positives[one],
            missed=self.missed[one],
        )


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)
