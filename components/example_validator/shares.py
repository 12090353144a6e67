"""Tests whether the shares of values in two data sets differ by more than chance."""

from collections.abc import Mapping
from typing import NamedTuple

# Probability of a false alarm per compared column.
_FALSE_ALARM = 0.001
# For smaller shares, the threshold shrinks in proportion.
_FULL_THRESHOLD_SHARE = 0.1


class Share(NamedTuple):
    """A value's share of the images, before and now.

    Attributes:
      value: the value.
      before: images with the value in the earlier data set.
      of_before: all images in the earlier data set.
      now: images with the value in the later data set.
      of_now: all images in the later data set.
    """

    value: str
    before: int
    of_before: int
    now: int
    of_now: int

    @property
    def change(self) -> float:
        """The later share minus the earlier one."""
        return self.now / self.of_now - self.before / self.of_before


def drifted(before: Mapping[str, int], now: Mapping[str, int], threshold: float) -> list[Share]:
    """Returns the values whose share changed by more than a threshold and by more than chance.

    A change is too large if it exceeds `threshold * min(1, 10 * larger of both shares)`: below a
    share of 0.1 the threshold shrinks with the share, so that with 0.05 the doubling or halving of
    a rare class is detected. It is more than chance if Fisher's exact test gives
    p < 0.001 / number of values (Bonferroni), assuming that images are independent.

    Args:
      before: images by value in the earlier data set; values that only occur in the later one
        are not compared.
      now: images by value in the later data set.
      threshold: allowed change in the share, in [0, 1].

    Returns:
      The shares, the rarest value first.
    """
    of_before, of_now = sum(before.values()), sum(now.get(value, 0) for value in before)
    if not of_before or not of_now:
        return []
    shares = [
        Share(value, count, of_before, now.get(value, 0), of_now) for value, count in before.items()
    ]
    found = [
        share
        for share in shares
        if _is_large(share, threshold) and _p_value(share) < _FALSE_ALARM / len(shares)
    ]
    return sorted(found, key=lambda share: (share.before, share.value))


def _is_large(share: Share, threshold: float) -> bool:
    larger = max(share.before / share.of_before, share.now / share.of_now)
    return abs(share.change) > threshold * min(1, larger / _FULL_THRESHOLD_SHARE)


def _p_value(share: Share) -> float:
    # Imported here, since the import takes a second that runs without a large change don't need.
    from scipy import stats

    others = share.of_before - share.before, share.of_now - share.now
    return float(stats.fisher_exact([[share.before, share.now], others]).pvalue)
