"""What must stay together: the unit of each image, made from hashes, groups and earlier draws.

Images that resemble one another, directly or by a chain, form a unit, and so do those of one
group. Where images of several groups resemble one another, those of one group stand for all
and the others are held back: merging the groups would let one common picture, such as a black
frame, chain most of the data into a unit that no split could take.

Units that an earlier draw has made, kept in a ledger, never change and never merge: an image
stays in the unit in which it was first placed. Only newcomers are linked, to one another and
to the images placed before, present or not. Newcomers that are linked are one:
- linked to no placed image, they form a new unit;
- linked to units of one band, and so of one split, they join the one of the lowest score;
- linked to units of several bands, they are held back, now and in every later draw.
So an image never changes band, and two that resemble each other never lie in two.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.near_duplicates import Hashes, Indices, Link, components, links
from components.imbalance_sampler.rows import PLACED, UNPLACED, Rows
from components.imbalance_sampler.scores import MAX_SCORE, scores

Scores = NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """The unit of each of n images.

    Attributes:
      unit: int64 (n,), the score of its unit.
      excluded: bool (n,), images that are never drawn.
      placed: int64 (n,), the unit that a later draw must keep; `UNPLACED` where there is none.
      conflicts: bool (n,), newcomers that resemble placed images of several bands.
    """

    unit: Scores
    excluded: NDArray[np.bool_]
    placed: Scores
    conflicts: NDArray[np.bool_]


def form_units(
    rows: Rows,
    *,
    random_state: int,
    max_distance: int,
    placed: Rows | None = None,
    edges: Scores | None = None,
) -> Units:
    """Forms the units.

    Args:
      rows: `SCANNED` (n,).
      random_state: the seed.
      max_distance: bits in which the hashes of near-duplicates differ at most; 0: no image
        resembles another.
      placed: `PLACED`, sorted by id: the images of earlier draws, where these bind.
      edges: int64, sorted: the scores at which bands begin.
    """
    placed = np.empty(0, PLACED) if placed is None else placed
    edges = np.empty(0, np.int64) if edges is None else edges
    known = _known_units(rows, placed)
    newcomers = known == UNPLACED
    grouped = rows["group"] != UNPLACED
    own = np.where(grouped, rows["group"], rows["image"])
    home, conflicts = own.copy(), np.zeros(len(rows), bool)
    if max_distance:
        linked = newcomers & rows["hashed"]
        bound = _bound(rows, known, placed)
        home[linked], conflicts[linked] = _homes(
            rows[linked], bound, edges, random_state, max_distance
        )
    moved = grouped & ~newcomers & (_band(edges, rows["group"]) != _band(edges, known))
    excluded = conflicts | moved | (newcomers & grouped & (home != rows["group"]))
    unit = np.where(grouped, rows["group"], np.where(newcomers, home, known))
    unit = np.where(conflicts & ~grouped, rows["image"], unit)
    return Units(
        unit=unit,
        excluded=excluded,
        placed=np.where(newcomers, np.where(excluded, UNPLACED, unit), known),
        conflicts=conflicts,
    )


def _band(edges: Scores, units: Scores) -> Indices:
    return np.searchsorted(edges, units, side="right")


def _known_units(rows: Rows, placed: Rows) -> Scores:
    """The unit in which each image was placed before; `UNPLACED` for newcomers."""
    known = np.full(len(rows), UNPLACED)
    if len(placed):
        at = np.minimum(np.searchsorted(placed["id"], rows["id"]), len(placed) - 1)
        same = placed["id"][at] == rows["id"]
        known[same] = placed["unit"][at[same]]
    return known


def _bound(rows: Rows, known: Scores, placed: Rows) -> tuple[Hashes, Scores]:
    """Hash and unit of each image that was placed before.

    Those that are present count by the hash that they have now.
    """
    here = rows["hashed"] & (known != UNPLACED)
    gone = placed["hashed"] & (placed["unit"] != UNPLACED) & ~np.isin(placed["id"], rows["id"])
    return (
        np.concatenate([rows["hash"][here], placed["hash"][gone]]),
        np.concatenate([known[here], placed["unit"][gone]]),
    )


@dataclass(frozen=True)
class _Ties:
    """What each distinct hash is linked to of the units of earlier draws.

    Attributes:
      lowest: int64, the lowest score of these units; `MAX_SCORE` where there is none.
      first_band: the lowest band of these units; beyond all bands where there is none.
      last_band: the highest; -1 where there is none.
    """

    lowest: Scores
    first_band: Indices
    last_band: Indices

    @classmethod
    def none(cls, count: int) -> "_Ties":
        return cls(
            np.full(count, MAX_SCORE),
            np.full(count, np.iinfo(np.intp).max),
            np.full(count, -1, np.intp),
        )

    def gather(self, to: Indices, other: "_Ties", at: Indices) -> None:
        """Adds the ties that `other` has at some places to those at places of this one."""
        np.minimum.at(self.lowest, to, other.lowest[at])
        np.minimum.at(self.first_band, to, other.first_band[at])
        np.maximum.at(self.last_band, to, other.last_band[at])


def _homes(
    rows: Rows, bound: tuple[Hashes, Scores], edges: Scores, random_state: int, max_distance: int
) -> tuple[Scores, NDArray[np.bool_]]:
    """For each newcomer the unit to which its component belongs, and whether it is in conflict."""
    distinct = np.unique(np.concatenate([rows["hash"], bound[0]]))
    at = np.searchsorted(distinct, rows["hash"])
    free = np.zeros(len(distinct), bool)
    free[at] = True
    own = _ties_of(distinct, bound, edges)
    ties = _Ties(own.lowest.copy(), own.first_band.copy(), own.last_band.copy())

    def between_newcomers() -> Iterator[Link]:
        for left, right in links(distinct, max_distance):
            ties.gather(left, own, right)
            ties.gather(right, own, left)
            both = free[left] & free[right]
            yield left[both], right[both]

    component = components(len(distinct), between_newcomers())
    together = _Ties.none(len(distinct))
    together.gather(component[free], ties, np.flatnonzero(free))
    home = _new_units(rows, distinct, component, at, random_state)
    tied = together.last_band >= 0
    home[tied] = together.lowest[tied]
    conflict = tied & (together.first_band != together.last_band)
    return home[component[at]], conflict[component[at]]


def _ties_of(distinct: Hashes, bound: tuple[Hashes, Scores], edges: Scores) -> _Ties:
    """The units of earlier draws that have images of just these hashes."""
    hashes, units = bound
    bands = _band(edges, units)
    ties = _Ties.none(len(distinct))
    ties.gather(
        np.searchsorted(distinct, hashes), _Ties(units, bands, bands), np.arange(len(units))
    )
    return ties


def _new_units(
    rows: Rows, distinct: Hashes, component: Indices, at: Indices, random_state: int
) -> Scores:
    """By component, the unit that it is where nothing was placed before.

    It is the group of the lowest score where there is one, else what the smallest hash says.
    """
    home = np.full(len(distinct), MAX_SCORE)
    grouped = rows["group"] != UNPLACED
    np.minimum.at(home, component[at[grouped]], rows["group"][grouped])
    single = np.unique(component[at])
    single = single[home[single] == MAX_SCORE]
    home[single] = scores(random_state, [b"%016x" % value for value in distinct[single].tolist()])
    return home
