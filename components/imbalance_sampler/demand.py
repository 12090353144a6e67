"""Resolves the requested sizes of the splits into numbers of images of the actual data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.census import Census
from components.imbalance_sampler.request import (
    ClassSize,
    SamplingError,
    SamplingRequest,
    ShortageError,
    quoted,
)


@dataclass(frozen=True)
class Demand:
    """One requested size of a split, resolved.

    Attributes:
      split: the split's name.
      name: the class, or the side if it has several classes.
      ranks: ranks in the census of the classes it may be filled from.
      requested: images, 0 or more.
      fraction: the requested share of the images; None if a number was requested.
    """

    split: str
    name: str
    ranks: tuple[int, ...]
    requested: int
    fraction: Fraction | None = None

    def members(self, classes: int) -> NDArray[np.bool_]:
        """Returns which of all classes it may be filled from, bool (classes,)."""
        mask = np.zeros(classes, bool)
        mask[list(self.ranks)] = True
        return mask


def resolve(
    request: SamplingRequest, census: Census, usable: Mapping[int, int]
) -> list[list[Demand]]:
    """Returns the demands of each split, in drawing order, rarest class first.

    A fraction is of all usable images. The splits' fractions of a class are rounded as a
    running sum: their total is exact, and an early split doesn't depend on a later one.

    Args:
      request: the splits, already checked against the census.
      census: the data's classes.
      usable: images that may be drawn, by rank.

    Raises:
      SamplingError: a split asks for more than is available, or its fraction rounds to 0 images.
    """
    shares: dict[str, Fraction] = {}
    resolved: list[Demand] = []
    for split in request.splits:
        for size in sorted(split.sizes, key=lambda size: min(census.ranks(size.key))):
            demand = _demand(split.name, size, census, usable, shares)
            _check_enough(demand, resolved, census, usable)
            resolved.append(demand)
    return [
        [demand for demand in resolved if demand.split == split.name] for split in request.splits
    ]


def shortage(demand: Demand, left: int, before: Iterable[str], blocked: int = 0) -> ShortageError:
    """Returns the error for a split that asks for more images than are left for it.

    Args:
      demand: the request.
      left: images that could be drawn for it.
      before: the splits drawn before it from the same classes.
      blocked: further images that can't be drawn because of their groups or near-duplicates.
    """
    noun = "class" if len(demand.ranks) == 1 else "side"
    splits = list(dict.fromkeys(before))
    after = f" after {quoted(splits)}" if splits else ""
    message = (
        f"split {demand.split!r} asks for {demand.requested} of {noun} {demand.name!r}, "
        f"{left} are left{after}"
    )
    if blocked:
        message += f" ({blocked} more can't be taken because of their groups or near-duplicates)"
    message += f", {demand.requested - left:,} too few; request fewer, or use {{total, ratio}}"
    return ShortageError(message, blocked)


def _demand(
    split: str,
    size: ClassSize,
    census: Census,
    usable: Mapping[int, int],
    shares: dict[str, Fraction],
) -> Demand:
    name, ranks = census.name(size.key), census.ranks(size.key)
    if not isinstance(size.amount, Fraction):
        return Demand(split, name, ranks, size.amount)
    available = _total(ranks, usable)
    share = shares.get(name, Fraction(0))
    shares[name] = share + size.amount
    requested = _rounded(shares[name] * available) - _rounded(share * available)
    if requested == 0:
        raise SamplingError(
            f"split {split!r}: the fraction of {name!r} must give at least 1 of the {available} "
            f"images; increase it. Received: {float(size.amount):g}"
        )
    return Demand(split, name, ranks, requested, size.amount)


def _check_enough(
    demand: Demand, earlier: list[Demand], census: Census, usable: Mapping[int, int]
) -> None:
    """Refuses a demand that exceeds the data whatever the groups are."""
    ranks = set(demand.ranks)
    before = [other for other in earlier if other.requested and ranks.issuperset(other.ranks)]
    drawable = _total(demand.ranks, usable)
    left = drawable - sum(other.requested for other in before)
    if demand.requested > left:
        blocked = sum(census.counts[rank] for rank in demand.ranks) - drawable
        raise shortage(demand, max(left, 0), [other.split for other in before], blocked)


def _total(ranks: Iterable[int], usable: Mapping[int, int]) -> int:
    return sum(usable.get(rank, 0) for rank in ranks)


def _rounded(value: Fraction) -> int:
    """Rounds to the nearest whole number, halves always up, unlike `round`."""
    return int(value + Fraction(1, 2))
