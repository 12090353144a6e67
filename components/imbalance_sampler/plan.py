"""The plan as a table: the split of each unit, and the last image taken of each class."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.demand import Demand
from components.imbalance_sampler.index import Position
from components.imbalance_sampler.rows import Rows, unit_starts
from components.imbalance_sampler.scores import MAX_SCORE

NONE = Position(-1, -1)
ALL = Position(MAX_SCORE, MAX_SCORE)

REST = 254
"""Outcome of an image that no split took."""
HELD_BACK = 255
"""Outcome of an image that may be in no split because its unit, or its copy, is in one."""


@dataclass(frozen=True)
class Run:
    """Consecutive units that go to one split.

    Attributes:
      split: index of the split.
      ends: int64 (classes,), by owner: score of the run's last unit. The run starts
        after the end of the previous run.
      limits: by class, the last image taken; no image of other classes is taken.
    """

    split: int
    ends: NDArray[np.int64]
    limits: dict[int, Position]


@dataclass(frozen=True)
class Drawn:
    """A demand, and how many images were available when it was drawn."""

    demand: Demand
    available: int


@dataclass
class Plan:
    """All runs, in drawing order, from which each image can be placed independently."""

    splits: Sequence[str]
    classes: int
    runs: list[Run] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)

    def ends(self) -> NDArray[np.int64]:
        """Returns, by owner, the score up to which units are assigned; -1 for none."""
        return self.runs[-1].ends if self.runs else np.full(self.classes, -1, np.int64)

    def outcomes(self, bucket: Rows) -> NDArray[np.uint8]:
        """Returns the outcome of each image of a bucket: a split's index, `REST` or `HELD_BACK`.

        Args:
          bucket: `SORTED` (n,), complete units.
        """
        unit, image, rank = bucket["unit"], bucket["image"], bucket["class"]
        run = np.zeros(len(bucket), np.intp)
        for candidate in self.runs:
            run += unit > candidate.ends[bucket["owner"]]
        limit_unit, limit_image = self._limits()
        last = limit_unit[run, rank]
        taken = (unit < last) | ((unit == last) & (image <= limit_image[run, rank]))
        taken &= ~bucket["excluded"]
        starts = unit_starts(bucket)
        in_use = np.repeat(
            np.logical_or.reduceat(taken, starts), np.diff(starts, append=len(bucket))
        )
        split = np.array([*(run.split for run in self.runs), REST], np.uint8)[run]
        unused = np.where(in_use | bucket["excluded"], np.uint8(HELD_BACK), np.uint8(REST))
        return np.where(taken, split, unused)

    def _limits(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns limits as tables of shape (runs + 1, classes); the last row takes no image."""
        unit = np.full((len(self.runs) + 1, self.classes), NONE.unit, np.int64)
        image = unit.copy()
        for number, run in enumerate(self.runs):
            for rank, limit in run.limits.items():
                unit[number, rank], image[number, rank] = limit.unit, limit.image
        return unit, image
