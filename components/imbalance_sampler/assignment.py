"""How images are given to splits: a pure function of the seed and of their identities.

Every image belongs to a unit, the images that must not be parted (`units` forms them). A
unit has a score, `scores.score(random_state, identity)`, and the lowest scores are drawn
first. Nothing else enters: no order of files, no shard, no worker.

`exact`: splits are drawn in the order test, val, others by name, train. A split takes,
of each class in turn, rarest first, the next units in order until its number is
reached. A unit that mixes classes belongs to its rarest class; its other images follow
it and count towards what the split asks of theirs. Where a unit has more images than
are wanted, those with the lowest scores of their own are taken, and the others are held
back: in no split, not even in rest. A fraction is met by whole units instead, so that
nothing is lost: it may be passed by the last unit's images but one.

`stable`: each split owns a band of the score space. The bands lie side by side in the
same order; their widths follow from the settings alone: the fractions or, for numbers,
the largest share that any class gives to the split, over the sum of these. Within its
band a split takes the lowest scores up to its number. As data is added an image may
come to exceed its split's number, but it never comes into another split: a unit keeps its
score from draw to draw (`ledger`). The price: a class can fill a split only from its band,
so more images are needed than are asked for, images that resemble those of several splits
are held back, other proportions in the settings mean a new draw, and what exceeds a split's
number, in rest, may resemble images of that split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.demand import Demand, shortage
from components.imbalance_sampler.index import Index, Position, Selection
from components.imbalance_sampler.plan import EVERYONE, NO_ONE, Drawn, Plan, Run
from components.imbalance_sampler.request import STABLE, SamplingRequest, ShortageError
from components.imbalance_sampler.scores import MAX_SCORE, SCORE_BITS


def assign(request: SamplingRequest, demands: Sequence[Sequence[Demand]], index: Index) -> Plan:
    """Plans which images each split gets.

    Args:
      request: the splits and the assignment asked for.
      demands: the same, resolved against the data by `demand.resolve`.
      index: the images.

    Raises:
      SamplingError: a split asks for more than it can be given.
    """
    plan = Plan([split.name for split in request.splits], index.classes)
    if request.assignment == STABLE:
        _assign_stable(plan, bands(request), demands, index)
    else:
        _assign_exact(plan, demands, index)
    return plan


def bands(request: SamplingRequest) -> list[tuple[Fraction, Fraction]]:
    """Start and end of each split's band of the score space, as fractions of it.

    With whole numbers the bands fill the space, and the widths are those with which the
    class worst served needs the fewest images.
    """
    widest = [max(ask.amount for ask in split.asks) for split in request.splits]
    fractions = [width for width in widest if isinstance(width, Fraction)]
    widths = fractions or _largest_shares(request)
    return list(pairwise(accumulate(widths, initial=Fraction(0))))


def band_edges(request: SamplingRequest) -> NDArray[np.int64]:
    """The scores at which bands begin, int64, sorted; where the last band ends, too."""
    edges = {edge for band in bands(request) for edge in band}
    return np.array(sorted(_last_below(edge) + 1 for edge in edges if edge < 1), np.int64)


def _largest_shares(request: SamplingRequest) -> list[Fraction]:
    sums: dict[str, Fraction] = {}
    for split in request.splits:
        for ask in split.asks:
            sums[ask.key] = sums.get(ask.key, Fraction(0)) + ask.amount
    shares = [
        max(ask.amount / sums[ask.key] for ask in split.asks if ask.amount)
        for split in request.splits
    ]
    return [share / sum(shares) for share in shares]


@dataclass
class _Filling:
    """A split while it is drawn: how many images each of its demands has got so far."""

    number: int
    filled: dict[Demand, int]

    def missing(self, demand: Demand) -> int:
        return demand.asked - self.filled[demand]


def _assign_exact(plan: Plan, demands: Sequence[Sequence[Demand]], index: Index) -> None:
    for number, split in enumerate(demands):
        filling = _Filling(number, dict.fromkeys(split, 0))
        for demand in split:
            _draw(plan, filling, demand, index)


def _draw(plan: Plan, filling: _Filling, demand: Demand, index: Index) -> None:
    """Adds the run that fills one demand."""
    members = demand.members(index.classes)
    # Units of other owners are out of reach: they are drawn with their owner.
    after = np.where(members, plan.ends(), MAX_SCORE)
    reachable = index.count(Selection(after, members))
    available = filling.filled[demand] + reachable
    if available < (demand.asked if demand.fraction is None else 1):
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
    """How far a demand takes of the images in a run, and how many these are."""
    there = index.count(inside)
    if demand.fraction is not None or there <= missing:
        return EVERYONE, there
    return (index.locate(inside, missing), missing) if missing > 0 else (EVERYONE, 0)


def _short(demand: Demand, available: int, plan: Plan, index: Index) -> ShortageError:
    """The error of a demand that groups leave short, though there are images enough."""
    ranks = set(demand.ranks)
    before = [drawn.demand for drawn in plan.drawn if ranks.intersection(drawn.demand.ranks)]
    usable = sum(index.usable()[rank] for rank in ranks)
    taken = sum(other.asked for other in before if ranks.issuperset(other.ranks))
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
    """The last image taken of those whose unit lies in the band."""
    if demand.fraction is not None:
        end = start + demand.fraction
    after = np.full(index.classes, _last_below(start), np.int64)
    band = Selection(after, demand.members(index.classes), _last_below(end))
    available = index.count(band)
    if available < (demand.asked if demand.fraction is None else 1):
        raise ShortageError(
            f"split {demand.split!r} asks for {demand.asked} of {demand.name!r}; with assignment "
            f"'stable' it owns {float(end - start):.0%} of the scores, and {available} are there; "
            "request fewer, or set assignment to 'exact'"
        )
    plan.drawn.append(Drawn(demand, available))
    if demand.fraction is not None:
        return Position(band.last, MAX_SCORE)
    return index.locate(band, demand.asked) if demand.asked else NO_ONE


def _last_below(edge: Fraction) -> int:
    """The highest score below an edge of the score space; -1 below its start."""
    return int(edge * 2**SCORE_BITS) - 1
