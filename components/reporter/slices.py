"""Slices ranked by how surely they are worse than the rest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN = 30


@dataclass(frozen=True)
class RankedSlice:
    """A slice's share of right answers on one side of the class boundary.

    Attributes:
      name: such as `breed = beagle, light = dim`.
      wrong: images of the side that the model got wrong.
      images: images of the side.
      rate: the share that it got right.
      interval: of the rate.
      is_worst: it heads the ranking.
      is_below: even the upper end of its interval is below the whole's rate.
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
    """The slices of one side, the surest worst first.

    Attributes:
      whole: the rate of the whole split.
      floor: a round number below every interval, where a scale may begin.
      rows: the first of the slices.
      more: how many more there are.
    """

    whole: float
    floor: float
    rows: list[RankedSlice]
    more: int


def by_recall(evaluation: Mapping[str, Any]) -> Ranking:
    """Which positives are missed: slices that hold some of the positives, by recall."""
    return _rank(evaluation, metric="recall", right="tp", wrong="fn")


def by_specificity(evaluation: Mapping[str, Any]) -> Ranking:
    """Where false alarms come from: slices that hold some of the others, by specificity."""
    return _rank(evaluation, metric="specificity", right="tn", wrong="fp")


def name(values: Mapping[str, str]) -> str:
    """A slice in words; an image without a value says so."""
    return ", ".join(f"{column} = {value or '(none)'}" for column, value in values.items())


def _rank(evaluation: Mapping[str, Any], *, metric: str, right: str, wrong: str) -> Ranking:
    overall = evaluation["metrics"]
    whole, total = overall[metric], overall[right] + overall[wrong]
    # A slice with all images of the side repeats the whole; one with none says nothing.
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
