"""What the splits ask for, in numbers of images of the data at hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.census import Census
from components.imbalance_sampler.request import (
    Ask,
    SamplingError,
    SamplingRequest,
    ShortageError,
    quoted,
)


@dataclass(frozen=True)
class Demand:
    """An ask of one split, resolved.

    Attributes:
      split: the split's name.
      name: the class, or the side where it holds several classes.
      ranks: ranks in the census of the classes it may be filled from.
      asked: images, 0 or more.
      fraction: the share of the images asked for; None where a number was asked for.
    """

    split: str
    name: str
    ranks: tuple[int, ...]
    asked: int
    fraction: Fraction | None = None

    def members(self, classes: int) -> NDArray[np.bool_]:
        """Which of all classes it may be filled from, shape (classes,)."""
        mask = np.zeros(classes, bool)
        mask[list(self.ranks)] = True
        return mask


def resolve(
    request: SamplingRequest, census: Census, usable: Mapping[int, int]
) -> list[list[Demand]]:
    """The demands of each split, in drawing order, rarest class first.

    A fraction is of all usable images. The splits' fractions of a class are rounded as a
    running sum: what they add up to is exact, and an early split doesn't depend on a
    later one.

    Args:
      request: the splits, already checked against the census.
      census: the data's classes.
      usable: images that may be drawn, by rank.

    Raises:
      SamplingError: a split asks for more than there is, or its fraction comes to none.
    """
    shares: dict[str, Fraction] = {}
    resolved: list[Demand] = []
    for split in request.splits:
        for ask in sorted(split.asks, key=lambda ask: min(census.ranks(ask.key))):
            demand = _demand(split.name, ask, census, usable, shares)
            _check_enough(demand, resolved, census, usable)
            resolved.append(demand)
    return [
        [demand for demand in resolved if demand.split == split.name] for split in request.splits
    ]


def shortage(demand: Demand, left: int, before: Iterable[str], blocked: int = 0) -> ShortageError:
    """The error of a split that asks for more than is left to it.

    Args:
      demand: what was asked.
      left: images that could be drawn for it.
      before: the splits drawn before it that took of the same classes.
      blocked: further images that are not free, since their group is not.
    """
    noun = "class" if len(demand.ranks) == 1 else "side"
    splits = list(dict.fromkeys(before))
    after = f" after {quoted(splits)}" if splits else ""
    message = (
        f"split {demand.split!r} asks for {demand.asked} of {noun} {demand.name!r}, "
        f"{left} are left{after}"
    )
    if blocked:
        message += (
            f" ({blocked} more can't be taken: they are grouped with, or near-duplicates of, "
            "images that are elsewhere)"
        )
    return ShortageError(f"{message}; request fewer, or use {{total, ratio}}", blocked)


def _demand(
    split: str, ask: Ask, census: Census, usable: Mapping[int, int], shares: dict[str, Fraction]
) -> Demand:
    name, ranks = census.name(ask.key), census.ranks(ask.key)
    if not isinstance(ask.amount, Fraction):
        return Demand(split, name, ranks, ask.amount)
    there = _total(ranks, usable)
    share = shares.get(name, Fraction(0))
    shares[name] = share + ask.amount
    asked = _rounded(shares[name] * there) - _rounded(share * there)
    if asked == 0:
        raise SamplingError(
            f"split {split!r} asks for {float(ask.amount):g} of {name!r}, which comes to none of "
            f"the {there} there are; raise it"
        )
    return Demand(split, name, ranks, asked, ask.amount)


def _check_enough(
    demand: Demand, earlier: list[Demand], census: Census, usable: Mapping[int, int]
) -> None:
    """Refuses what plain subtraction shows to be too much, whatever the groups are."""
    ranks = set(demand.ranks)
    before = [other for other in earlier if other.asked and ranks.issuperset(other.ranks)]
    drawable = _total(demand.ranks, usable)
    left = drawable - sum(other.asked for other in before)
    if demand.asked > left:
        blocked = sum(census.counts[rank] for rank in demand.ranks) - drawable
        raise shortage(demand, max(left, 0), [other.split for other in before], blocked)


def _total(ranks: Iterable[int], usable: Mapping[int, int]) -> int:
    return sum(usable.get(rank, 0) for rank in ranks)


def _rounded(value: Fraction) -> int:
    """To the nearest whole number, halves up: always the same way, unlike `round`."""
    return int(value + Fraction(1, 2))
