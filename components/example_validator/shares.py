"""Whether the shares of values in one data set are those in another, but for chance."""

from collections.abc import Mapping
from typing import NamedTuple

# The chance of an alarm where nothing has changed, for each column that is compared.
_FALSE_ALARM = 0.001
# From this share on, the threshold counts in full.
_FULL = 0.1


class Share(NamedTuple):
    """A value's share of the images, before and now.

    Attributes:
      value: the value.
      before: images with the value in the earlier data set.
      of_before: images in it.
      now: images with the value in the later data set.
      of_now: images in it.
    """

    value: str
    before: int
    of_before: int
    now: int
    of_now: int

    @property
    def change(self) -> float:
        """The later share less the earlier one."""
        return self.now / self.of_now - self.before / self.of_before


def drifted(before: Mapping[str, int], now: Mapping[str, int], threshold: float) -> list[Share]:
    """The values whose share has changed by more than a threshold, and by more than chance.

    A change is too large if it is above `threshold * min(1, 10 * larger of both shares)`: below
    a share of one in ten the threshold shrinks with the share, so that at 0.05 a rare class is
    seen to double or to halve. It is more than chance if Fisher's exact test gives
    p < 0.001 / number of values (Bonferroni), as if each image had been drawn by itself.

    Args:
      before: images by value in the earlier data set; values that only the later one has are
        not compared.
      now: images by value in the later data set.
      threshold: change in the share that is allowed, in [0, 1].

    Returns:
      The rarest value first.
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
    return abs(share.change) > threshold * min(1, larger / _FULL)


def _p_value(share: Share) -> float:
    # A second of a pod's start, which a run without a large change is spared.
    from scipy import stats

    others = share.of_before - share.before, share.of_now - share.now
    return float(stats.fisher_exact([[share.before, share.now], others]).pvalue)
