"""How much the draws of the splits depend on each other, because they have images in common.

Draws are taken from the same pool. The results of two draws are correlated by as much of their
variance as comes from images that both have. Of a figure that is a mean over images, such as the
first order of any smooth figure, this is the share of images in common (W. Hoeffding, A Class of
Statistics with Asymptotically Normal Distribution, Annals of Mathematical Statistics 19 (1948), by
whom it is at most that for any other). Positives and others count by the inverse of their number,
as the variance of a mean does: a hundred positives matter more than a thousand others.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from components.study_reporter.record import Arm

# Draws that have all images in common would tell nothing about other images.
_MOST = 0.99


def correlation(arm: Arm, splits: Iterable[str]) -> float:
    """Returns the correlation of two draws of an arm through the images of some splits.

    Args:
      arm: the arm.
      splits: names of splits; the largest correlation counts.

    Returns:
      0 to 0.99; 0 if the splits were drawn once.
    """
    shares, sizes = arm.metadata.get("overlap") or {}, arm.metadata["splits"]
    found = [of_split(shares[split], sizes[split]) for split in splits if split in shares]
    return min(max(found, default=0.0), _MOST)


def of_arm(arm: Arm) -> float:
    """Returns the correlation of two draws of an arm through all its images."""
    return correlation(arm, arm.metadata["splits"])


def of_pair(first: Arm, second: Arm) -> float:
    """Returns the correlation of the difference of two arms between draws, for other models.

    Only through train and val: resampling the test images shows what these contribute. A split
    counts if both arms have it. Of different ones, such as a balanced and a representative training
    split, an image of the pool is in each as often as in the other relative to their sizes, so
    what it contributes to both cancels out.
    """
    shared = {
        split
        for key in ("train_split", "val_split")
        if (split := first.metadata[key]) == second.metadata[key]
    }
    return max(correlation(arm, shared) for arm in (first, second))


def of_split(shares: Mapping[str, float], sizes: Mapping[str, Any]) -> float:
    """Returns the correlation of two draws through the images of one split.

    Args:
      shares: the share of the split's images that another draw has in the same split, by side:
        `positives` and `negatives`.
      sizes: the number of the split's images by side.
    """
    weights = {side: 1 / max(sizes[side], 1) for side in ("positives", "negatives")}
    return sum(shares[side] * weight for side, weight in weights.items()) / sum(weights.values())
