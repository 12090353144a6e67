"""Assigns images to splits: a pure function of the seed and of the images' identities.

Every image belongs to a unit: the images that must stay in one split (`units` forms them). A
unit has a score, `scores.score(random_state, identity)`, and the lowest scores are drawn
first. The order of files, the shards and the workers have no influence.

`exact`: splits are drawn in the order test, val, others by name, train. For each class, rarest
first, a split takes the next units in order until its size is reached. A unit that mixes
classes belongs to its rarest class; its other images come with it and count towards the
split's sizes of their classes. If a unit has more images than needed, those with the lowest
scores of their own are taken, and the others are held back: they are in no split, not even in
rest. A fraction is filled with whole units instead, so that no image is lost: it may be exceeded
by up to the size of the last unit less one.

`stable`: each split owns a band of the score space. The bands are adjacent, in the same order;
their widths depend on the settings alone: the fractions or, for numbers, the split's largest
share of any class, divided by the sum of these shares. Within its band a split takes the lowest
scores up to its size. As data is added, an image may come to exceed its split's size, but it
never moves to another split: a unit keeps its score from draw to draw (`ledger`). The drawbacks:
a class can fill a split only from its band, so more images are needed than are requested; images
that resemble those of several splits are held back; other proportions in the settings require a
new draw; and what exceeds a split's size, in rest, may resemble images of that split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.demand import Demand, shortage
from components.imbalance_sampler.index import Index, Position, Selection
from components.imbalance_sampler.plan import ALL, NONE, Drawn, Plan, Run
from components.imbalance_sampler.request import STABLE, SamplingRequest, ShortageError
from components.imbalance_sampler.scores import MAX_SCORE, SCORE_BITS


def assign(request: SamplingRequest, demands: Sequence[Sequence[Demand]], index: Index) -> Plan:
    """Plans which images each split gets.

    Args:
      request: the requested splits and assignment.
      demands: the splits, resolved against the data by `demand.resolve`.
      index: the images.

    Raises:
      SamplingError: a split asks for more images than are available to it.
    """
    plan = Plan([split.name for split in request.splits], index.classes)
    if request.assignment == STABLE:
        _assign_stable(plan, bands(request), demands, index)
    else:
        _assign_exact(plan, demands, index)
    return plan


def bands(request: SamplingRequest) -> list[tuple[Fraction, Fraction]]:
    """Returns the start and end of each split's band, as fractions of the score space.

    With whole numbers the bands fill the space, and their widths minimize the images that the
    class with the tightest fit needs.
    """
    widest = [max(size.amount for size in split.sizes) for split in request.splits]
    fractions = [width for width in widest if isinstance(width, Fraction)]
    widths = fractions or _largest_shares(request)
    return list(pairwise(accumulate(widths, initial=Fraction(0))))


def band_edges(request: SamplingRequest) -> NDArray[np.int64]:
    """Returns the scores at which bands start, and the end of the last one, int64, sorted."""
    edges = {edge for band in bands(request) for edge in band}
    return np.array(sorted(_last_below(edge) + 1 for edge in edges if edge < 1), np.int64)


def _largest_shares(request: SamplingRequest) -> list[Fraction]:
    sums: dict[str, Fraction] = {}
    for split in request.splits:
        for size in split.sizes:
            sums[size.key] = sums.get(size.key, Fraction(0)) + size.amount
    shares = [
        max(size.amount / sums[size.key] for size in split.sizes if size.amount)
        for split in request.splits
    ]
    return [share / sum(shares) for share in shares]


@dataclass
class _Filling:
    """A split while it is drawn: how many images each of its demands has received so far."""

    number: int
    filled: dict[Demand, int]

    def missing(self, demand: Demand) -> int:
        return demand.requested - self.filled[demand]


def _assign_exact(plan: Plan, demands: Sequence[Sequence[Demand]], index: Index) -> None:
    for number, split in enumerate(demands):
        filling = _Filling(number, dict.fromkeys(split, 0))
        for demand in split:
            _draw(plan, filling, demand, index)


def _draw(plan: Plan, filling: _Filling, demand: Demand, index: Index) -> None:
    """Adds the run that fills one demand."""
    members = demand.members(index.classes)
    # Units of other owners can't be drawn here: they are drawn with their owner.
    after = np.where(members, plan.ends(), MAX_SCORE)
    reachable = index.count(Selection(after, members))
    available = filling.filled[demand] + reachable
    if available < (demand.requested if demand.fraction is None else 1):
        raise _short(demand, available, plan, index)
    plan.drawn.append(Drawn(demand, available))
    need = min(filling.missing(demand), reachable)
    if need <= 0:
        return
    last = index.locate(Selection(after, members), need).unit
    limits: dict[int, Position] = {}
    for other in filling.filled:
        inside = Selection(after, other.members(index.classes), last)
        limit, taken = _limit(other, inside, filling.missing(other), index)
        filling.filled[other] += taken
        limits |= dict.fromkeys(other.ranks, limit) if taken else {}
    ends = np.where(members, np.maximum(plan.ends(), last), plan.ends())
    plan.runs.append(Run(filling.number, ends, limits))


def _limit(demand: Demand, inside: Selection, missing: int, index: Index) -> tuple[Position, int]:
    """Returns the last image that a demand takes from a run, and how many images it takes."""
    found = index.count(inside)
    if demand.fraction is not None or found <= missing:
        return ALL, found
    return (index.locate(inside, missing), missing) if missing > 0 else (ALL, 0)


def _short(demand: Demand, available: int, plan: Plan, index: Index) -> ShortageError:
    """Returns the error for a demand that groups leave short although there are enough images."""
    ranks = set(demand.ranks)
    before = [drawn.demand for drawn in plan.drawn if ranks.intersection(drawn.demand.ranks)]
    usable = sum(index.usable()[rank] for rank in ranks)
    taken = sum(other.requested for other in before if ranks.issuperset(other.ranks))
    return shortage(
        demand, available, [other.split for other in before], max(usable - taken - available, 0)
    )


def _assign_stable(
    plan: Plan,
    edges: Sequence[tuple[Fraction, Fraction]],
    demands: Sequence[Sequence[Demand]],
    index: Index,
) -> None:
    for number, (split, (start, end)) in enumerate(zip(demands, edges, strict=True)):
        limits: dict[int, Position] = {}
        for demand in split:
            limit = _limit_in_band(plan, demand, start, end, index)
            limits |= dict.fromkeys(demand.ranks, limit)
        ends = np.full(index.classes, _last_below(end), np.int64)
        plan.runs.append(Run(number, ends, limits))


def _limit_in_band(
    plan: Plan, demand: Demand, start: Fraction, end: Fraction, index: Index
) -> Position:
    """Returns the last image that is taken from the band."""
    if demand.fraction is not None:
        end = start + demand.fraction
    after = np.full(index.classes, _last_below(start), np.int64)
    band = Selection(after, demand.members(index.classes), _last_below(end))
    available = index.count(band)
    if available < (demand.requested if demand.fraction is None else 1):
        raise ShortageError(
            f"split {demand.split!r} asks for {demand.requested} of {demand.name!r}; with "
            f"assignment 'stable' it owns {float(end - start):.0%} of the scores, in which there "
            f"are only {available}; request fewer, or set assignment to 'exact'"
        )
    plan.drawn.append(Drawn(demand, available))
    if demand.fraction is not None:
        return Position(band.last, MAX_SCORE)
    return index.locate(band, demand.requested) if demand.requested else NONE


def _last_below(edge: Fraction) -> int:
    """Returns the highest score below an edge of the score space; -1 for its start."""
    return int(edge * 2**SCORE_BITS) - 1
