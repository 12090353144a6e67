"""How many more images would decide a gate on the end of an interval, at the observed rates.

A proportion p of n images of one class (recall, specificity) has Wilson's interval, which is that
of the score test: it contains the bound p₀ as long as n ≤ z² p₀ (1 - p₀) / (p - p₀)² (E. B. Wilson,
Probable Inference, the Law of Succession, and Statistical Inference, JASA 22, 1927). For metrics
of both classes the interval is computed again, as the evaluation computes it, for larger and
larger numbers of images with the observed recall and false positive rate, until it no longer
contains the bound. For all others the distance from the metric to the end of its interval shrinks
with the square root of the number of images, as for any mean.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from components.evaluator.intervals import CONFIDENCE
from components.evaluator.metrics import Confusion

LIMIT = 10_000_000
"""Numbers of images above this one are not looked for."""


@dataclass(frozen=True)
class MoreImages:
    """Images to add of each class."""

    positives: int
    negatives: int

    @property
    def total(self) -> int:
        """Images of both classes."""
        return self.positives + self.negatives

    def describe(self) -> str:
        """Returns the numbers in words, such as `35 more positives`."""
        sides = (self.positives, "positive"), (self.negatives, "negative")
        parts = [f"{count:,} more {noun}{'s' * (count != 1)}" for count, noun in sides if count]
        return " and ".join(parts) or "no more images"


def of_proportion(share: float, bound: float, images: int) -> int | None:
    """Returns how many more images decide on which side of a bound a proportion is.

    Args:
      share: the observed proportion.
      bound: the bound, between 0 and 1.
      images: number of images that the proportion is of.

    Returns:
      At least 1; None if no number up to `LIMIT` decides.
    """
    z = special.ndtri((1 + CONFIDENCE) / 2)
    margin = abs(share - bound)
    if margin == 0 or (required := z**2 * bound * (1 - bound) / margin**2) > LIMIT:
        return None
    return max(1, math.floor(required) + 1 - images)


def by_counts(
    counts: Confusion, decided: Callable[[Confusion], bool], *, alone: bool
) -> MoreImages | None:
    """Returns the fewest images that decide a gate on a metric of both classes.

    Args:
      counts: the observed counts.
      decided: whether the gate is decided by the interval of such counts.
      alone: whether images of one class alone may be added, as at a fixed share of positives;
        otherwise both are added in the observed proportion.

    Returns:
      The images to add; None if no number up to `LIMIT` decides.
    """
    found = [_fewest(counts, decided, share) for share in _shares(counts, alone)]
    return min((more for more in found if more), key=lambda more: more.total, default=None)


def by_square_root(
    images: int, positives: int, *, distance: float, margin: float
) -> MoreImages | None:
    """Returns the images that shrink an interval from `distance` to less than `margin`.

    Args:
      images: number of images that the metric rests on.
      positives: number of positives among them; both classes are added in this proportion.
      distance: from the metric to the end of its interval on the side of the bound.
      margin: from the metric to the bound.
    """
    if margin <= 0 or images * (distance / margin) ** 2 > LIMIT:
        return None
    return in_proportion(
        math.floor(images * (distance / margin) ** 2) + 1 - images, positives, images
    )


def in_proportion(more: int, positives: int, images: int) -> MoreImages:
    """Splits `more` images into classes by the share of positives among `images`."""
    of_positives = math.ceil(more * positives / images) if images else more
    return MoreImages(of_positives, more - of_positives)


def scaled(counts: Confusion, positives: int, negatives: int) -> Confusion:
    """Returns the counts that this many images would have at the observed rates."""
    tp = round(positives * counts.recall) if counts.positives else 0
    fp = round(negatives * counts.false_positive_rate) if counts.negatives else 0
    return Confusion(tp=tp, fp=fp, tn=negatives - fp, fn=positives - tp)


def _shares(counts: Confusion, alone: bool) -> list[float]:
    """Returns shares of positives among the images to add; without an image, a rate is unknown."""
    share = counts.positives / (counts.positives + counts.negatives)
    return [share, *([1.0, 0.0] if alone and 0 < share < 1 else [])]


def _fewest(
    counts: Confusion, decided: Callable[[Confusion], bool], share: float
) -> MoreImages | None:
    """Doubles the number of images until it decides, then bisects."""

    def more(total: int) -> MoreImages:
        positives = round(total * share)
        return MoreImages(positives, total - positives)

    def enough(total: int) -> bool:
        added = more(total)
        return decided(
            scaled(counts, counts.positives + added.positives, counts.negatives + added.negatives)
        )

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > LIMIT:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return more(high)
