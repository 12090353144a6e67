"""Finds the n-th image of a selection with one bucket of rows in memory at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.rows import Rows
from components.imbalance_sampler.scores import MAX_SCORE, SCORE_BITS


@dataclass(frozen=True)
class Selection:
    """The drawable images of certain classes in a range of units.

    Attributes:
      after: int64 (classes,), by owner: units up to this score are excluded.
      members: bool (classes,): the classes to include.
      last: units above this score are excluded.
    """

    after: NDArray[np.int64]
    members: NDArray[np.bool_]
    last: int = MAX_SCORE

    def of(self, bucket: Rows) -> NDArray[np.bool_]:
        """Returns which rows of the bucket are selected, bool (n,)."""
        return (
            (bucket["unit"] > self.after[bucket["owner"]])
            & (bucket["unit"] <= self.last)
            & self.members[bucket["class"]]
            & ~bucket["excluded"]
        )


@dataclass(frozen=True)
class Position:
    """A position in the order of images: by unit, then by the image's own score."""

    unit: int
    image: int


class Index:
    """Counts and finds images in sorted buckets; opens only the buckets that a bound cuts.

    All other buckets are represented by their tallies: a few numbers each.
    """

    def __init__(
        self,
        *,
        bits: int,
        classes: int,
        tallies: Iterable[tuple[int, int, int, int]],
        load: Callable[[int], Rows],
    ):
        """Creates an index over 2**bits buckets.

        Args:
          bits: how many leading bits of a unit's score are the number of its bucket.
          classes: number of classes.
          tallies: `(bucket, owner, class, images)` of the drawable images.
          load: returns a bucket's rows, `SORTED`.
        """
        table = np.array(sorted(tallies), np.int64).reshape(-1, 4)
        self.classes = classes
        self._bits = bits
        self._bucket, self._owner, self._class, self._images = table.T
        self._load = lru_cache(maxsize=2)(load)

    def usable(self) -> dict[int, int]:
        """Returns the number of drawable images by class."""
        sums = np.bincount(self._class, self._images, self.classes)
        return {rank: int(images) for rank, images in enumerate(sums)}

    def count(self, selection: Selection) -> int:
        """Returns the number of images in the selection."""
        return int(self._totals(selection).sum())

    def locate(self, selection: Selection, n: int) -> Position:
        """Returns the position of the selection's n-th image, counted from 1.

        Raises:
          IndexError: the selection has fewer.
        """
        running = self._totals(selection).cumsum()
        bucket = int(np.searchsorted(running, n))
        if n < 1 or bucket == len(running):
            raise IndexError(f"image {n} of a selection of {running[-1]}")
        rows = self._load(bucket)
        before = int(running[bucket - 1]) if bucket else 0
        row = rows[np.flatnonzero(selection.of(rows))[n - before - 1]]
        return Position(int(row["unit"]), int(row["image"]))

    def _totals(self, selection: Selection) -> NDArray[np.int64]:
        """Returns the number of images in the selection by bucket."""
        width = SCORE_BITS - self._bits
        low = self._bucket << width
        high = low + ((1 << width) - 1)
        after = selection.after[self._owner]
        member = selection.members[self._class]
        inside = member & (after < low) & (high <= selection.last)
        outside = ~member | (high <= after) | (selection.last < low)
        totals = np.zeros(1 << self._bits, np.int64)
        np.add.at(totals, self._bucket[inside], self._images[inside])
        for bucket in np.unique(self._bucket[~inside & ~outside]):
            totals[bucket] = selection.of(self._load(int(bucket))).sum()
        return totals
