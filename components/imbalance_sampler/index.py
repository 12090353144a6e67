"""Finds the n-th image of a selection while holding one bucket of rows at a time."""

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
      after: int64 (classes,), by owner: units up to this score are left out.
      members: bool (classes,): the classes that count.
      last: units above this score are left out.
    """

    after: NDArray[np.int64]
    members: NDArray[np.bool_]
    last: int = MAX_SCORE

    def of(self, bucket: Rows) -> NDArray[np.bool_]:
        """Which rows of the bucket are selected."""
        return (
            (bucket["unit"] > self.after[bucket["owner"]])
            & (bucket["unit"] <= self.last)
            & self.members[bucket["class"]]
            & ~bucket["excluded"]
        )


@dataclass(frozen=True)
class Position:
    """A place in the order of images: by unit, within a unit by the image's own score."""

    unit: int
    image: int


class Index:
    """Counts and finds images in sorted buckets, opening only those that a bound cuts.

    All other buckets are known by their tallies: a few numbers each.
    """

    def __init__(
        self,
        *,
        bits: int,
        classes: int,
        tallies: Iterable[tuple[int, int, int, int]],
        load: Callable[[int], Rows],
    ):
        """Makes an index over 2**bits buckets.

        Args:
          bits: leading bits of a unit's score that number its bucket.
          classes: number of classes.
          tallies: `(bucket, owner, class, images)` of the drawable images.
          load: gives a bucket's rows, `SORTED`.
        """
        table = np.array(sorted(tallies), np.int64).reshape(-1, 4)
        self.classes = classes
        self._bits = bits
        self._bucket, self._owner, self._class, self._images = table.T
        self._load = lru_cache(maxsize=2)(load)

    def usable(self) -> dict[int, int]:
        """Drawable images by class."""
        sums = np.bincount(self._class, self._images, self.classes)
        return {rank: int(images) for rank, images in enumerate(sums)}

    def count(self, selection: Selection) -> int:
        """Number of images of the selection."""
        return int(self._totals(selection).sum())

    def locate(self, selection: Selection, n: int) -> Position:
        """The place of the selection's n-th image, from 1.

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
        """Images of the selection by bucket."""
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
