"""A paired bootstrap over test images and replicates, as matrix products.

Two things vary in the difference of two arms: which images the test split happens to hold,
and which seeds the replicates happened to have. Each draw takes both anew: images within
each class, the same ones for every replicate of every arm; and replicates, the same ones in
both arms, since replicates of one number share their seed. Of R replicates R - 1 are drawn,
so that their part of the variance is not too small by (R - 1) / R.

To draw both at once counts three times what belongs to an image and a replicate together,
such as a score that jumps from seed to seed (Owen, section 3). Draws of the images alone and
of the replicates alone count it once each, so its size is known and the excess is taken off.
What is left is the variance of the difference. Where no draw of the images changes the difference,
as between models that make no mistake on them, the draws don't tell the images' part; it is then
that of Bonett and Price, who add an image to either side of those on which the arms differ.
Interval and p value are Student's on the variance: a few replicates tell their own spread badly,
and the degrees of freedom (Satterthwaite's, of the two parts of the variance) say how badly.

Sources: A. Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics 1 (2007); J. Rao and
C. Wu, Resampling Inference with Complex Survey Data, JASA 83 (1988), for the R - 1; D. Bonett and
R. Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
Data, Journal of Educational and Behavioral Statistics 37 (2012); F. Satterthwaite, An Approximate
Distribution of Estimates of Variance Components, Biometrics Bulletin 2 (1946).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.evaluator import intervals

DRAWS = 2000
"""Of images and replicates; PR-AUC has fewer where images are many."""
# PR-AUC touches each image of each model in each draw. A laptop core does this many in
# two or three seconds; beyond it fewer draws are made.
_MAX_PR_AUC_VISITS = 120_000_000
_MIN_PR_AUC_DRAWS = 1000
_WEIGHTS_AT_ONCE = 250_000
_ROUNDING = 1e-9
_SEED = 20


def rates(
    labels: NDArray[np.int64], called: NDArray[np.bool_], *, draws: int = DRAWS
) -> dict[str, NDArray[np.float64]]:
    """Recall, precision, F1 and accuracy of each model in each draw of the images.

    Args:
      labels: (n,), 1 for the positive class; both classes occur.
      called: (models, n), what each model calls positive.
      draws: how many.

    Returns:
      float64 (models, draws) by metric; precision is NaN where nothing is called positive.
    """
    positive = labels == 1
    sides = [called[:, members].astype(np.float32) for members in (positive, ~positive)]
    counted: list[list[NDArray]] = [[], []]
    for weights in _image_weights(positive, draws):
        for blocks, side, members in zip(counted, sides, (positive, ~positive), strict=True):
            blocks.append(side @ weights[members])
    tp, fp = (np.concatenate(blocks, axis=1).astype(np.float64) for blocks in counted)
    positives, images = int(positive.sum()), positive.size
    with np.errstate(invalid="ignore"):
        precision = tp / (tp + fp)
    return {
        "recall": tp / positives,
        "precision": precision,
        "f1": 2 * tp / (tp + fp + positives),
        "accuracy": (tp + images - positives - fp) / images,
    }


def average_precisions(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], *, draws: int = DRAWS
) -> NDArray[np.float64]:
    """PR-AUC of each model in each draw of the images.

    Args:
      labels: (n,), 1 for the positive class; both classes occur.
      probabilities: (models, n).
      draws: the most; fewer, though at least 1,000, where models and images are many.

    Returns:
      float64 (models, draws).
    """
    positive = labels == 1
    affordable = _MAX_PR_AUC_VISITS // max(probabilities.size, 1)
    draws = min(draws, max(_MIN_PR_AUC_DRAWS, affordable))
    orders = [_Falling.of(positive, row) for row in probabilities]
    blocks = [
        np.stack([order.average_precision(weights) for order in orders])
        for weights in _image_weights(positive, draws)
    ]
    return np.concatenate(blocks, axis=1)


@dataclass(frozen=True)
class _Falling:
    """The images of one model by falling probability, cut where recall makes a step.

    Attributes:
      order: indices of the images, as far as the last positive goes.
      starts: (k,), where in `order` each stretch begins. A stretch ends with the run of
        equal probabilities that holds its positives.
      positives: indices of the positives, in that order.
      positive_starts: (k,), where in `positives` each stretch begins.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    positives: NDArray[np.intp]
    positive_starts: NDArray[np.intp]

    @classmethod
    def of(cls, positive: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> "_Falling":
        order = np.argsort(-probabilities, kind="stable")
        at = np.flatnonzero(positive[order])
        # The last place of the run of equal probabilities that each positive stands in.
        rising = -probabilities[order]
        ends = np.searchsorted(rising, rising[at], side="right")
        ends, positive_starts = np.unique(ends, return_index=True)
        return cls(order[: ends[-1]], np.append(0, ends[:-1]), order[at], positive_starts)

    def average_precision(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of images that occur as often as their weights say, (n, draws)."""
        called = np.add.reduceat(weights[self.order], self.starts, axis=0).cumsum(axis=0)
        steps = np.add.reduceat(weights[self.positives], self.positive_starts, axis=0)
        tp = steps.cumsum(axis=0)
        # Nothing is called only before the first positive, where recall makes no step.
        areas = np.sum(steps * (tp / np.maximum(called, 1)), axis=0, dtype=np.float64)
        return areas / tp[-1]


def _image_weights(positive: NDArray[np.bool_], draws: int) -> Iterator[NDArray[np.float32]]:
    """How often each image occurs in each draw, (n, block): classes keep their sizes.

    The same for the same split, whatever the arms.
    """
    rng = np.random.default_rng(_SEED)
    at_once = max(1, _WEIGHTS_AT_ONCE // positive.size)
    for done in range(0, draws, at_once):
        size = min(at_once, draws - done)
        weights = np.empty((positive.size, size), np.float32)
        for members in (positive, ~positive):
            count = int(np.count_nonzero(members))
            drawn = rng.integers(count, size=(count, size)) * size + np.arange(size)
            occurs = np.bincount(drawn.ravel(), minlength=count * size)
            weights[members] = occurs.reshape(count, size)
        yield weights


def replicate_weights(replicates: int, draws: int) -> NDArray[np.float64]:
    """The share of each replicate in each draw, (replicates, draws).

    One replicate alone is always taken: its part of the variance cannot be seen.
    """
    if replicates == 1:
        return np.ones((1, draws))
    rng = np.random.default_rng([_SEED, replicates])
    drawn = rng.multinomial(replicates - 1, np.full(replicates, 1 / replicates), size=draws)
    return drawn.T / (replicates - 1)


def compare(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    images: int,
) -> dict[str, Any]:
    """The difference of two arms' means, first less second.

    Args:
      first: (replicates,), what each replicate has; NaN where undefined.
      second: likewise, paired with `first`.
      drawn: of the first and of the second, (replicates, draws): the same in each draw of
        the images.
      images: those of the rarer class.

    Returns:
      `difference`, `interval` (95 %) and `p`, two-sided. All None where the metric is
      undefined for an arm.
    """
    difference = float(_mean(first) - _mean(second))
    weights = replicate_weights(first.size, drawn[0].shape[1])
    by_images = _variance(_mean(drawn[0]) - _mean(drawn[1]))
    by_replicates = _variance(_mean(first[:, None], weights) - _mean(second[:, None], weights))
    by_both = _variance(_mean(drawn[0], weights) - _mean(drawn[1], weights))
    if not np.isfinite([difference, by_images, by_replicates, by_both]).all():
        return {"difference": None, "interval": None, "p": None}
    # With I and R the variance that images and replicates bring, and E what they bring
    # together, the draws have I + E, R + E and I + R + 3 E; wanted is I + R + E.
    wanted = max(2 * (by_images + by_replicates) - by_both, by_images, by_replicates)
    # The draws of equal arms differ in their last digits alone.
    if by_images < _ROUNDING**2:
        by_images = _adjusted_variance(difference, images)
        wanted = by_images + by_replicates
    parts = [(by_images, images - 1), (by_replicates, first.size - 1)]
    return {"difference": difference, **_student(difference, wanted, parts)}


def _student(
    difference: float, variance: float, parts: Sequence[tuple[float, int]]
) -> dict[str, Any]:
    """Interval and p value by Student, with degrees of freedom by Satterthwaite.

    Args:
      difference: as it was found.
      variance: of it.
      parts: the variances that it is made of, each with its own degrees of freedom.
    """
    doubt = sum(part**2 / max(freedom, 1) for part, freedom in parts)
    freedom, error = variance**2 / doubt, np.sqrt(variance)
    half = special.stdtrit(freedom, (1 + intervals.CONFIDENCE) / 2) * error
    return {
        "interval": [max(-1.0, difference - half), min(1.0, difference + half)],
        "p": float(2 * special.stdtr(freedom, -abs(difference) / error)),
    }


def _adjusted_variance(difference: float, images: int) -> float:
    """Bonett and Price's, of arms that differ on no more images than the difference takes."""
    more, fewer = (abs(difference) * images + 1) / (images + 2), 1 / (images + 2)
    return (more + fewer - (more - fewer) ** 2) / (images + 2)


def _variance(drawn: NDArray[np.float64]) -> float:
    """Of the draws in which the metric is defined; NaN where there are none."""
    defined = drawn[np.isfinite(drawn)]
    return float(np.var(defined)) if defined.size else np.nan


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray:
    """Weighted mean over the rows, of those that are defined; NaN where none is."""
    defined = np.isfinite(values)
    weights = np.ones_like(values) if weights is None else weights
    total = np.sum(np.where(defined, values, 0) * weights, axis=0)
    with np.errstate(invalid="ignore"):
        return total / np.sum(defined * weights, axis=0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, so that one false finding in all is as rare as p.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
    Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    return np.minimum(corrected, 1).tolist()
