"""Forms units, the images that must stay together, from hashes, groups and earlier draws.

Near-duplicates, linked directly or by a chain, form a unit, and so do the images of one group. If
images of several groups are near-duplicates, those of one group are kept and the others are held
back: if the groups were merged, one common image, such as a black frame, could link most of the
data into a unit that fits no split.

Units of earlier draws, recorded in a ledger, never change and never merge: an image stays in the
unit in which it was first placed. Only newcomers are linked: to each other, and to images placed
earlier, whether these are still present or not. Newcomers that are linked to each other
- form a new unit if they are linked to no placed image;
- join the unit with the lowest score if they are linked to units of one band, and so of one
  split; those of another group are held back;
- are held back, now and in every later draw, if they are linked to units of several bands.
So an image never changes band, and near-duplicates are never in two bands.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.near_duplicates import Components, Hashes, Indices, links
from components.imbalance_sampler.rows import PLACED, UNPLACED, Rows
from components.imbalance_sampler.scores import MAX_SCORE, scores

Scores = NDArray[np.int64]

_SCORED_AT_ONCE = 1 << 16
"""Identities converted to text at a time: as text they take about ten times the memory."""


@dataclass(frozen=True)
class Units:
    """The unit of each of n images.

    Attributes:
      unit: int64 (n,), the score of the unit.
      excluded: bool (n,), images that are never drawn.
      placed: int64 (n,), the unit that a later draw must keep; `UNPLACED` if there is none.
      conflicts: bool (n,), newcomers that resemble placed images of several bands.
      clusters: intp (m,), for each image with a hash, placed or not, a number that is the same
        for images of one cluster of near-duplicates.
    """

    unit: Scores
    excluded: NDArray[np.bool_]
    placed: Scores
    conflicts: NDArray[np.bool_]
    clusters: Indices


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
      max_distance: maximum number of bits in which the hashes of near-duplicates differ; 0:
        there are no near-duplicates.
      placed: `PLACED`, sorted by id: the images of earlier draws; None to ignore these.
      edges: int64, sorted: the scores at which bands start.
    """
    placed = np.empty(0, PLACED) if placed is None else placed
    edges = np.empty(0, np.int64) if edges is None else edges
    known = _known_units(rows, placed)
    newcomers = known == UNPLACED
    grouped = rows["group"] != UNPLACED
    own = np.where(grouped, rows["group"], rows["image"])
    home, conflicts = own.copy(), np.zeros(len(rows), bool)
    clusters = np.empty(0, np.intp)
    if max_distance:
        linked = newcomers & rows["hashed"]
        hashes = rows["hash"][linked]
        resemblance = _Resemblance.of(hashes, _bound(rows, known, placed), edges, max_distance)
        home[linked], conflicts[linked] = resemblance.homes(
            hashes, rows["group"][linked], random_state
        )
        clusters = resemblance.clusters(rows["hash"][rows["hashed"]])
    moved = grouped & ~newcomers & (_band(edges, rows["group"]) != _band(edges, known))
    excluded = conflicts | moved | (newcomers & grouped & (home != rows["group"]))
    unit = np.where(grouped, rows["group"], np.where(newcomers, home, known))
    unit = np.where(conflicts & ~grouped, rows["image"], unit)
    return Units(
        unit=unit,
        excluded=excluded,
        placed=np.where(newcomers, np.where(excluded, UNPLACED, unit), known),
        conflicts=conflicts,
        clusters=clusters,
    )


def _band(edges: Scores, units: Scores) -> Indices:
    return np.searchsorted(edges, units, side="right")


def _known_units(rows: Rows, placed: Rows) -> Scores:
    """Returns the unit in which each image was placed earlier; `UNPLACED` for newcomers."""
    known = np.full(len(rows), UNPLACED)
    if len(placed):
        at = np.minimum(np.searchsorted(placed["id"], rows["id"]), len(placed) - 1)
        same = placed["id"][at] == rows["id"]
        known[same] = placed["unit"][at[same]]
    return known


def _bound(rows: Rows, known: Scores, placed: Rows) -> tuple[Hashes, Scores]:
    """Returns the hash and unit of each image that was placed earlier.

    For images that are still present, the current hash is used.
    """
    if not len(placed):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    here = rows["hashed"] & (known != UNPLACED)
    gone = placed["hashed"] & (placed["unit"] != UNPLACED) & ~np.isin(placed["id"], rows["id"])
    return (
        np.concatenate([rows["hash"][here], placed["hash"][gone]]),
        np.concatenate([known[here], placed["unit"][gone]]),
    )


@dataclass(frozen=True)
class _Ties:
    """The units of earlier draws to which each distinct hash is linked.

    Attributes:
      lowest: int64, the lowest score of these units; `MAX_SCORE` if there is none.
      first_band: the lowest band of these units; above all bands if there is none.
      last_band: the highest band of these units; -1 if there is none.
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
        """Merges the ties at indices `at` of `other` into those at indices `to`."""
        np.minimum.at(self.lowest, to, other.lowest[at])
        np.minimum.at(self.first_band, to, other.first_band[at])
        np.maximum.at(self.last_band, to, other.last_band[at])


@dataclass(frozen=True)
class _Resemblance:
    """Which hashes are near-duplicates.

    Attributes:
      distinct: uint64, sorted: all hashes, of newcomers and of placed images.
      component: by hash, the smallest index of its component if only newcomers are linked.
      cluster: by hash, the smallest index of its component if all hashes are linked.
      ties: by component, the units of earlier draws that its newcomers resemble.
    """

    distinct: Hashes
    component: Indices
    cluster: Indices
    ties: "_Ties"

    @classmethod
    def of(
        cls, hashes: Hashes, bound: tuple[Hashes, Scores], edges: Scores, max_distance: int
    ) -> "_Resemblance":
        """Links newcomers to each other, and to the images that were placed earlier."""
        distinct = np.unique(np.concatenate([hashes, bound[0]]))
        free = np.zeros(len(distinct), bool)
        free[np.searchsorted(distinct, hashes)] = True
        own = _ties_of(distinct, bound, edges)
        ties = _Ties(own.lowest.copy(), own.first_band.copy(), own.last_band.copy())
        among_newcomers, among_all = Components(len(distinct)), Components(len(distinct))
        for left, right in links(distinct, max_distance):
            ties.gather(left, own, right)
            ties.gather(right, own, left)
            both = free[left] & free[right]
            among_newcomers.join(left[both], right[both])
            among_all.join(left, right)
        component = among_newcomers.smallest()
        together = _Ties.none(len(distinct))
        together.gather(component[free], ties, np.flatnonzero(free))
        return cls(distinct, component, among_all.smallest(), together)

    def homes(
        self, hashes: Hashes, groups: Scores, random_state: int
    ) -> tuple[Scores, NDArray[np.bool_]]:
        """Returns, for each newcomer, the unit of its component, and whether its ties conflict."""
        component = self.component[np.searchsorted(self.distinct, hashes)]
        home = _new_units(groups, self.distinct, component, random_state)
        tied = self.ties.last_band >= 0
        home[tied] = self.ties.lowest[tied]
        conflict = tied & (self.ties.first_band != self.ties.last_band)
        return home[component], conflict[component]

    def clusters(self, hashes: Hashes) -> Indices:
        """Returns, for each hash, a number that is the same within its cluster."""
        return self.cluster[np.searchsorted(self.distinct, hashes)]


def _ties_of(distinct: Hashes, bound: tuple[Hashes, Scores], edges: Scores) -> _Ties:
    """Returns the units of earlier draws whose images have exactly these hashes."""
    hashes, units = bound
    bands = _band(edges, units)
    ties = _Ties.none(len(distinct))
    ties.gather(
        np.searchsorted(distinct, hashes), _Ties(units, bands, bands), np.arange(len(units))
    )
    return ties


def _new_units(groups: Scores, distinct: Hashes, component: Indices, random_state: int) -> Scores:
    """Returns, by component, its unit if no image of it was placed earlier.

    This is its group with the lowest score, or the score of its smallest hash without a group.
    """
    home = np.full(len(distinct), MAX_SCORE)
    grouped = groups != UNPLACED
    np.minimum.at(home, component[grouped], groups[grouped])
    alone = np.unique(component)
    alone = alone[home[alone] == MAX_SCORE]
    for start in range(0, len(alone), _SCORED_AT_ONCE):
        some = alone[start : start + _SCORED_AT_ONCE]
        home[some] = scores(random_state, [b"%016x" % value for value in distinct[some].tolist()])
    return home
