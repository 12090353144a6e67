"""Ranks slices by how certain it is that they are worse than the rest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.evaluator.slice_wording import name

_SHOWN = 30


@dataclass(frozen=True)
class RankedSlice:
    """A slice's share of correct predictions, among positives or among negatives.

    Attributes:
      name: such as `breed = beagle, light = dim`.
      wrong: number of wrong predictions.
      images: number of images.
      rate: share of correct predictions.
      interval: interval of the rate.
      is_worst: whether it is first in the ranking.
      is_below: whether the upper end of its interval is below the rate of the whole split.
    """

    name: str
    wrong: int
    images: int
    rate: float
    interval: tuple[float, float]
    is_worst: bool
    is_below: bool


@dataclass(frozen=True)
class Ranking:
    """The slices, among positives or among negatives, the worst first.

    Attributes:
      whole: the rate of the whole split.
      floor: a round number below all intervals, the start of the scale.
      rows: the first of the slices.
      more: number of further slices.
    """

    whole: float
    floor: float
    rows: list[RankedSlice]
    more: int


def by_recall(evaluation: Mapping[str, Any]) -> Ranking:
    """Returns the slices with some of the positives, ranked by recall."""
    return _rank(evaluation, metric="recall", right="tp", wrong="fn")


def by_specificity(evaluation: Mapping[str, Any]) -> Ranking:
    """Returns the slices with some of the negatives, ranked by specificity."""
    return _rank(evaluation, metric="specificity", right="tn", wrong="fp")


def _rank(evaluation: Mapping[str, Any], *, metric: str, right: str, wrong: str) -> Ranking:
    overall = evaluation["metrics"]
    whole, total = overall[metric], overall[right] + overall[wrong]
    # A slice with all of the images equals the whole; one with none has no rate.
    found = [row for row in evaluation["slices"] if 0 < row[right] + row[wrong] < total]
    found.sort(key=lambda row: (row["intervals"][metric][1], row[metric], name(row["slice"])))
    rows = [
        RankedSlice(
            name=name(row["slice"]),
            wrong=row[wrong],
            images=row[right] + row[wrong],
            rate=row[metric],
            interval=tuple(row["intervals"][metric]),
            is_worst=index == 0,
            is_below=row["intervals"][metric][1] < whole,
        )
        for index, row in enumerate(found[:_SHOWN])
    ]
    lowest = min((row.interval[0] for row in rows), default=0.0)
    return Ranking(
        whole=whole,
        floor=math.floor(10 * min(lowest, whole)) / 10,
        rows=rows,
        more=max(0, len(found) - _SHOWN),
    )
