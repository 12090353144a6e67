"""What must stay together: the unit of each image, made from hashes, groups and earlier draws.

Images that resemble one another, directly or by a chain, form a unit, and so do those of one
group. Where images of several groups resemble one another, those of one group stand for all
and the others are held back: merging the groups would let one common picture, such as a black
frame, chain most of the data into a unit that no split could take.

Units that an earlier draw has made, kept in a ledger, never change and never merge: an image
stays in the unit in which it was first placed. Only newcomers are linked, to one another and
to the images placed before, present or not. Newcomers that are linked are one:
- linked to no placed image, they form a new unit;
- linked to units of one band, and so of one split, they join the one of the lowest score,
  except for those of another group, which are held back;
- linked to units of several bands, they are held back, now and in every later draw.
So an image never changes band, and two that resemble each other never lie in two.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.near_duplicates import Components, Hashes, Indices, links
from components.imbalance_sampler.rows import PLACED, UNPLACED, Rows
from components.imbalance_sampler.scores import MAX_SCORE, scores

Scores = NDArray[np.int64]

_SCORED_AT_ONCE = 1 << 16
"""Identities that are text at a time: as such they take some ten times their size."""


@dataclass(frozen=True)
class Units:
    """The unit of each of n images.

    Attributes:
      unit: int64 (n,), the score of its unit.
      excluded: bool (n,), images that are never drawn.
      placed: int64 (n,), the unit that a later draw must keep; `UNPLACED` where there is none.
      conflicts: bool (n,), newcomers that resemble placed images of several bands.
      clusters: intp (m,), for each image that may resemble others a number which those that do
        share, be they placed or not.
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


@dataclass(frozen=True)
class _Resemblance:
    """Which hashes resemble one another.

    Attributes:
      distinct: uint64, sorted: all hashes, of newcomers and of placed images.
      component: by hash, the smallest index of its component where only newcomers are linked.
      cluster: the same where all are linked.
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
        """Links newcomers to one another, and to the images that were placed before."""
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
        """For each newcomer the unit to which its component belongs, and whether ties conflict."""
        component = self.component[np.searchsorted(self.distinct, hashes)]
        home = _new_units(groups, self.distinct, component, random_state)
        tied = self.ties.last_band >= 0
        home[tied] = self.ties.lowest[tied]
        conflict = tied & (self.ties.first_band != self.ties.last_band)
        return home[component], conflict[component]

    def clusters(self, hashes: Hashes) -> Indices:
        """A number for each hash which those that resemble one another share."""
        return self.cluster[np.searchsorted(self.distinct, hashes)]


def _ties_of(distinct: Hashes, bound: tuple[Hashes, Scores], edges: Scores) -> _Ties:
    """The units of earlier draws that have images of just these hashes."""
    hashes, units = bound
    bands = _band(edges, units)
    ties = _Ties.none(len(distinct))
    ties.gather(
        np.searchsorted(distinct, hashes), _Ties(units, bands, bands), np.arange(len(units))
    )
    return ties


def _new_units(groups: Scores, distinct: Hashes, component: Indices, random_state: int) -> Scores:
    """By component, the unit that it is where nothing was placed before.

    It is the group of the lowest score where there is one, else what the smallest hash says.
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
