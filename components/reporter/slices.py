"""Ranks slices by how certain it is that they are worse than the rest."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from components.evaluator.intervals import wilson
from components.evaluator.slice_wording import name

_SHOWN = 30


@dataclass(frozen=True)
class RankedSlice:
    """A rate of a slice, among its positives or among its negatives.

    Attributes:
      name: such as `breed = beagle, light = dim`.
      wrong: number of wrong predictions.
      images: number of images.
      rate: recall or false positive rate.
      interval: interval of the rate.
      is_found: whether the search found it to be worse than the rest.
      is_beyond: whether its interval is worse than the rate of the whole split.
    """

    name: str
    wrong: int
    images: int
    rate: float
    interval: tuple[float, float]
    is_found: bool
    is_beyond: bool


@dataclass(frozen=True)
class Forest:
    """The slices, among positives or among negatives: those that were found first, then the worst.

    Attributes:
      whole: the rate of the whole split.
      low: start of the scale, a round number that is not above any interval.
      high: end of the scale, likewise not below.
      rows: the first of the slices.
      more: number of further slices.
    """

    whole: float
    low: float
    high: float
    rows: list[RankedSlice]
    more: int

    def place(self, rate: float) -> str:
        """Returns where a rate is on the scale, as a percentage."""
        return f"{100 * (rate - self.low) / (self.high - self.low):.2f}%"


def by_recall(evaluation: Mapping[str, Any]) -> Forest:
    """Returns the slices with some of the positives, ranked by recall."""
    misses = _ranked(evaluation, right="tp", wrong="fn", metric="recall")
    rows = [
        replace(row, rate=1 - row.rate, interval=(1 - row.interval[1], 1 - row.interval[0]))
        for row in misses
    ]
    whole = evaluation["metrics"]["recall"]
    lowest = min((row.interval[0] for row in rows), default=1.0)
    low = math.floor(10 * min(lowest, whole)) / 10
    return Forest(whole, min(low, 0.9), 1.0, rows[:_SHOWN], max(0, len(rows) - _SHOWN))


def by_false_positive_rate(evaluation: Mapping[str, Any]) -> Forest:
    """Returns the slices with some of the negatives, ranked by false positive rate."""
    rows = _ranked(evaluation, right="tn", wrong="fp", metric="false_positive_rate")
    whole = 1 - evaluation["metrics"]["specificity"]
    highest = max((row.interval[1] for row in rows), default=0.0)
    high = math.ceil(20 * max(highest, whole)) / 20
    return Forest(whole, 0.0, max(high, 0.05), rows[:_SHOWN], max(0, len(rows) - _SHOWN))


def _ranked(
    evaluation: Mapping[str, Any], *, right: str, wrong: str, metric: str
) -> list[RankedSlice]:
    """Returns the slices with some of the images of a side, with the share of wrong ones."""
    overall = evaluation["metrics"]
    total = overall[right] + overall[wrong]
    listed = [row for row in evaluation.get("worst_slices", ()) if row["metric"] == metric]
    counts = {_key(row): (row["wrong"], row["images"]) for row in listed}
    counts |= {_key(row): (row[wrong], row[right] + row[wrong]) for row in evaluation["slices"]}
    found = {_key(row) for row in listed if row["found"]}
    rows = [
        _row(dict(key), *images, is_found=key in found, whole=overall[wrong] / total)
        for key, images in counts.items()
        # A slice with all of the images equals the whole; one with none has no rate.
        if 0 < images[1] < total
    ]
    rows.sort(key=lambda row: (not row.is_found, -row.interval[0], -row.rate, row.name))
    return rows


def _key(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(row["slice"].items()))


def _row(
    values: Mapping[str, str], wrong: int, images: int, *, is_found: bool, whole: float
) -> RankedSlice:
    interval = wilson(wrong, images) or (0.0, 1.0)
    return RankedSlice(
        name=name(values),
        wrong=wrong,
        images=images,
        rate=wrong / images,
        interval=interval,
        is_found=is_found,
        is_beyond=interval[0] > whole,
    )
