"""A paired bootstrap over test images and replicates, computed as matrix products.

The difference of two arms varies with the images in the test split and with the seeds of the
replicates. Each draw resamples both: the images within each class, the same ones for every
replicate of every arm, and the replicates, the same ones in both arms, since replicates with the
same number share their seed. A draw takes R - 1 of R replicates, with replacement; with R, their
part of the variance would be too small by the factor (R - 1) / R.

Resampling both at once counts the variance of their interaction three times, such as that of a
score that differs from seed to seed (Owen, section 3). Resampling only the images, or only the
replicates, counts it once, so it can be estimated and the excess subtracted, which gives the
variance of the difference. If no resampling of the images changes the difference, as between models
without errors, the images' part can't be estimated from the draws. It is then that of Bonett and
Price, who add one image to each of the two counts of images on which the arms differ. Intervals and
p values are Student's t with this variance: a few replicates give only a rough estimate of their
variance, which Satterthwaite's degrees of freedom, of the two parts of the variance, account for.

Several draws of the splits (`compare_draws`) are another matter: the models of a draw are trained
on other images, some of which are also in other draws, and test images recur. The variance of the
mean difference over the draws then has two parts. The first is what resampling the images shows,
the same ones in every draw that tests on them: it includes that test images recur. The second comes
from the training and validation images and the seeds. It is the variance between draws, less what
the test images contribute to it, which the bootstrap shows too. Of D draws it counts by 1 / D, and
in addition by Nadeau and Bengio's r / (1 - r), for the images that two draws have in common. They
take the share of test images as the correlation r of two draws; here, where the test images are in
the first part, it is that of train and val, see `components.study_reporter.overlap`. The seeds of
different draws are independent: what they contribute to the mean of a draw counts by 1 / D alone.
It is the variance between the seeds of a draw, less what the test images contribute to it, so that
it is known only with several seeds. If a training has no seed, as a head that is solved exactly,
nothing changes. The second part is a difference, which is 0 if it would be below. The error of its
estimate is at most that of the variance between draws, and at least that of a variance as small as
the part. Satterthwaite's freedom takes a mean of their squares with a weight of 0.15 on the former:
simulations of which `python -m benchmarks.comparisons` is the last decided it. With 1 the intervals
were up to a third wider and covered up to 0.998 of the true differences, with 0 they covered as
little as 0.88 where both parts are equal. So that draws with most images in common give no interval
without end, the freedom is at least the square root of D - 1.

Sources: A. Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics 1 (2007); J. Rao and
C. Wu, Resampling Inference with Complex Survey Data, JASA 83 (1988), for the R - 1; D. Bonett and
R. Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based on Paired
Data, Journal of Educational and Behavioral Statistics 37 (2012); F. Satterthwaite, An Approximate
Distribution of Estimates of Variance Components, Biometrics Bulletin 2 (1946); C. Nadeau and Y.
Bengio, Inference for the Generalization Error, Machine Learning 52 (2003).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.evaluator import intervals, metrics

if TYPE_CHECKING:
    from components.study_reporter.scores import Draws

DRAWS = 2000
"""Number of draws; PR-AUC has fewer if there are many images."""
# PR-AUC visits each image of each model in each draw. A laptop core takes two or three seconds for
# this many visits; beyond that, fewer draws are made.
_MAX_PR_AUC_VISITS = 120_000_000
_MIN_PR_AUC_DRAWS = 1000
_WEIGHTS_AT_ONCE = 250_000
_ROUNDING = 1e-9
_SEED = 20
# See above: of the variance between draws, in the error of the part that is not of test images.
_WEIGHT_OF_WHOLE = 0.15
_UNDEFINED: dict[str, Any] = dict.fromkeys(("difference", "interval", "p", "error", "freedom"))

POWER = 0.8
"""Power of the smallest difference that a comparison could have seen."""


def rates(
    labels: NDArray[np.int64],
    predicted: NDArray[np.bool_],
    *,
    present: NDArray[np.bool_] | None = None,
    draws: int = DRAWS,
    prevalence: float | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Computes recall, precision, F1 and accuracy of each model in each draw of the images.

    Args:
      labels: (n,), 1 for the positive class; both classes occur.
      predicted: (models, n), the images that each model classifies as positive.
      present: (models, n), the images that each model is tested on; None for all.
      draws: number of draws.
      prevalence: share of positives of the metrics; None for that of the images.

    Returns:
      float64 (models, draws) by metric; precision is NaN if no image is classified as positive.
    """
    positive = labels == 1
    sides = [predicted[:, members].astype(np.float32) for members in (positive, ~positive)]
    tested = None if present is None or present.all() else present.astype(np.float32)
    counts: list[list[NDArray]] = [[], [], [], []]
    for weights in image_weights(positive, draws):
        for index, (side, members) in enumerate(zip(sides, (positive, ~positive), strict=True)):
            counts[index].append(side @ weights[members])
            if tested is not None:
                counts[2 + index].append(tested[:, members] @ weights[members])
    tp, fp = (np.concatenate(blocks, axis=1).astype(np.float64) for blocks in counts[:2])
    positives, negatives = (
        np.concatenate(blocks, axis=1).astype(np.float64)
        if blocks
        else np.float64(np.count_nonzero(members))
        for blocks, members in zip(counts[2:], (positive, ~positive), strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        if prevalence is not None:
            found = metrics.rates_at_prevalence(tp / positives, fp / negatives, prevalence)
            return {name: found[name] for name in ("recall", "precision", "f1", "accuracy")}
        return {
            "recall": tp / positives,
            "precision": tp / (tp + fp),
            "f1": 2 * tp / (tp + fp + positives),
            "accuracy": (tp + negatives - fp) / (positives + negatives),
        }


def means(
    labels: NDArray[np.int64],
    losses: NDArray[np.float64],
    *,
    prevalence: float,
    draws: int = DRAWS,
) -> NDArray[np.float64]:
    """Computes the mean loss of each model in each draw of the images.

    Args:
      labels: (n,), 1 for the positive class; both classes occur.
      losses: (models, n), the loss of each image; NaN if a model is not tested on it.
      prevalence: share of positives to which the images are weighted.
      draws: number of draws.

    Returns:
      float64 (models, draws).
    """
    positive = labels == 1
    found = []
    tested = ~np.isnan(losses)
    known = np.where(tested, losses, 0).astype(np.float32)
    everywhere = bool(tested.all())
    for weights in image_weights(positive, draws):
        mean = np.zeros((len(losses), weights.shape[1]))
        for members, share in ((positive, prevalence), (~positive, 1 - prevalence)):
            total: Any = np.count_nonzero(members)
            if not everywhere:
                total = tested[:, members].astype(np.float32) @ weights[members]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean += share * (known[:, members] @ weights[members]) / total
        found.append(mean)
    return np.concatenate(found, axis=1)


def average_precisions(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    *,
    draws: int = DRAWS,
    prevalence: float | None = None,
) -> NDArray[np.float64]:
    """Computes PR-AUC of each model in each draw of the images.

    Args:
      labels: (n,), 1 for the positive class; both classes occur.
      probabilities: (models, n); NaN if a model is not tested on an image.
      draws: maximum number of draws; fewer, but at least 1,000, for many models and images.
      prevalence: share of positives of the metric; None for that of the images.

    Returns:
      float64 (models, draws).
    """
    positive = labels == 1
    affordable = _MAX_PR_AUC_VISITS // max(probabilities.size, 1)
    draws = min(draws, max(_MIN_PR_AUC_DRAWS, affordable))
    rankings = [_RankedImages.of(positive, row) for row in probabilities]
    tested = ~np.isnan(probabilities)
    blocks = []
    for weights in image_weights(positive, draws):
        weighted = (_weighted_to(prevalence, weights, positive, row) for row in tested)
        # Models that are tested on all images have the same weights, which are computed once.
        each = itertools.repeat(next(weighted)) if tested.all() else weighted
        areas = [model.average_precision(own) for model, own in zip(rankings, each, strict=False)]
        blocks.append(np.stack(areas))
    return np.concatenate(blocks, axis=1)


def _weighted_to(
    prevalence: float | None,
    weights: NDArray[np.float32],
    positive: NDArray[np.bool_],
    tested: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Returns the weights with those of negatives such that the share of positives is as asked.

    Args:
      prevalence: the share; None leaves the weights as they are.
      weights: (n, draws), how often each image occurs.
      positive: (n,), whether each image is of the positive class.
      tested: (n,), the images that the model is tested on.
    """
    if prevalence is None:
        return weights
    positives, negatives = (
        weights[members & tested].sum(axis=0) for members in (positive, ~positive)
    )
    odds = (1 - prevalence) / prevalence
    factor = odds * positives / np.maximum(negatives, 1)  # without a negative, of no effect
    return np.where(positive[:, None], weights, weights * factor.astype(np.float32))


@dataclass(frozen=True)
class _RankedImages:
    """The images in decreasing order of probability, in segments that end where recall increases.

    Attributes:
      order: indices of the images, up to the last segment that contains a positive.
      starts: (k,), the start of each segment in `order`. A segment ends with the run of
        equal probabilities that contains its positives.
      positives: indices of the positives, in the same order.
      positive_starts: (k,), the start of each segment in `positives`.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    positives: NDArray[np.intp]
    positive_starts: NDArray[np.intp]

    @classmethod
    def of(cls, positive: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> "_RankedImages":
        order = np.argsort(-probabilities, kind="stable")
        order = order[: np.count_nonzero(~np.isnan(probabilities))]  # NaN is last
        at = np.flatnonzero(positive[order])
        # The end of the run of equal probabilities that contains each positive.
        increasing = -probabilities[order]
        ends = np.searchsorted(increasing, increasing[at], side="right")
        ends, positive_starts = np.unique(ends, return_index=True)
        return cls(order[: ends[-1]], np.append(0, ends[:-1]), order[at], positive_starts)

    def average_precision(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Computes average precision in each draw.

        Args:
          weights: (n, draws), how often each image occurs.
        """
        predicted = np.add.reduceat(weights[self.order], self.starts, axis=0).cumsum(axis=0)
        steps = np.add.reduceat(weights[self.positives], self.positive_starts, axis=0)
        tp = steps.cumsum(axis=0)
        # `predicted` is 0 only before the first positive, where recall doesn't increase.
        areas = np.sum(steps * (tp / np.maximum(predicted, 1)), axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            return areas / tp[-1]


def image_weights(positive: NDArray[np.bool_], draws: int) -> Iterator[NDArray[np.float32]]:
    """Yields how often each image occurs in each draw, (n, block); classes keep their sizes.

    Args:
      positive: (n,), whether each image is of the positive class.
      draws: number of draws in all blocks together.

    The weights depend on the split only, not on the arms.
    """
    rng = np.random.default_rng(_SEED)
    block = max(1, _WEIGHTS_AT_ONCE // positive.size)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        weights = np.empty((positive.size, size), np.float32)
        for members in (positive, ~positive):
            count = int(np.count_nonzero(members))
            drawn = rng.integers(count, size=(count, size)) * size + np.arange(size)
            occurrences = np.bincount(drawn.ravel(), minlength=count * size)
            weights[members] = occurrences.reshape(count, size)
        yield weights


def replicate_weights(replicates: int, draws: int) -> NDArray[np.float64]:
    """Returns the share of each replicate in each draw, (replicates, draws).

    A single replicate is in every draw: its part of the variance can't be estimated.
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
    limit: float = 1.0,
) -> dict[str, Any]:
    """Compares the means of two arms.

    Args:
      first: (replicates,), the metric of each replicate; NaN if undefined.
      second: as `first`, in pairs with the same seeds.
      drawn: the metric in each draw of the images, (replicates, draws), of the first arm and of
        the second.
      images: number of images of the rarer class.
      limit: the largest possible difference.

    Returns:
      `difference`, first minus second; its `interval` (95 %), two-sided `p`, standard `error` and
      `freedom`. All None if the metric is undefined for an arm.
    """
    difference = float(_mean(first) - _mean(second))
    weights = replicate_weights(first.size, drawn[0].shape[1])
    by_images = _variance(_mean(drawn[0]) - _mean(drawn[1]))
    by_replicates = _variance(_mean(first[:, None], weights) - _mean(second[:, None], weights))
    by_both = _variance(_mean(drawn[0], weights) - _mean(drawn[1], weights))
    if not np.isfinite([difference, by_images, by_replicates, by_both]).all():
        return dict(_UNDEFINED)
    # With the variances I of the images, R of the replicates and E of their interaction, the draws
    # have I + E, R + E and I + R + 3 E, and the variance of the difference is I + R + E.
    variance = max(2 * (by_images + by_replicates) - by_both, by_images, by_replicates)
    # The draws of equal arms differ by rounding errors only.
    if by_images < _ROUNDING**2:
        by_images = _adjusted_variance(difference, images)
        variance = by_images + by_replicates
    parts = [(by_images, images - 1), (by_replicates, first.size - 1)]
    return {"difference": difference, **_student(difference, variance, parts, limit=limit)}


def compare_draws(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    draws: "Draws",
    images: int,
    limit: float = 1.0,
) -> dict[str, Any]:
    """Compares the means of two arms over several draws of the splits.

    Args:
      first: (replicates,), the metric of each replicate; NaN if undefined.
      second: as `first`, in pairs with the same draws of the splits and seeds.
      drawn: the metric in each draw of the images, (replicates, B), of the first arm and of the
        second.
      draws: the draw of the splits of each replicate, and the correlation of two draws through
        train and val.
      images: number of images of the rarer class, over all draws.
      limit: the largest possible difference.

    Returns:
      As `compare`.
    """
    values = draws.means(first) - draws.means(second)
    resampled = draws.means(drawn[0]) - draws.means(drawn[1])
    defined = np.isfinite(values)
    values, resampled = values[defined], resampled[defined]
    if values.size < 2:
        return dict(_UNDEFINED)
    difference = float(values.mean())
    by_images = _variance(resampled.mean(axis=0))
    between = float(values.var(ddof=1))
    noise = (resampled - values[:, None]).var(axis=0, ddof=1)
    of_images = float(noise[np.isfinite(noise)].mean()) if np.isfinite(noise).any() else np.nan
    if not np.isfinite([by_images, of_images]).all():
        return dict(_UNDEFINED)
    share = 1 / values.size + draws.overlap / (1 - draws.overlap)
    rest = max(between - of_images, 0.0)
    of_seeds = min(_of_seeds(first - second, drawn[0] - drawn[1], draws), rest)
    of_training = share * (rest - of_seeds) + of_seeds / values.size
    if by_images < _ROUNDING**2:
        by_images = _adjusted_variance(difference, images)
    whole = share * (between - of_seeds) + of_seeds / values.size
    error = np.sqrt(_WEIGHT_OF_WHOLE * whole**2 + (1 - _WEIGHT_OF_WHOLE) * of_training**2)
    parts = [(by_images, images - 1), (error, values.size - 1)]
    least = float(np.sqrt(values.size - 1))
    found = _student(difference, by_images + of_training, parts, limit=limit, least=least)
    return {"difference": difference, **found}


def _of_seeds(values: NDArray[np.float64], drawn: NDArray[np.float64], draws: "Draws") -> float:
    """Returns the variance of a draw's mean through its seeds; 0 if no draw has several.

    Args:
      values: (replicates,), differences of two arms.
      drawn: (replicates, B), the same in each draw of the images.
      draws: the draw of the splits of each replicate.
    """
    found = []
    for number in np.unique(draws.of_replicates):
        rows = np.flatnonzero((draws.of_replicates == number) & np.isfinite(values))
        if rows.size > 1:
            noise = (drawn[rows] - values[rows, None]).var(axis=0, ddof=1)
            noise = noise[np.isfinite(noise)]
            of_images = float(noise.mean()) if noise.size else 0.0
            found.append((float(values[rows].var(ddof=1)) - of_images) / rows.size)
    return max(float(np.mean(found)), 0.0) if found else 0.0


def detectable(error: float, freedom: float, significance: float, power: float = POWER) -> float:
    """Returns the smallest true difference that a comparison shows with the given power.

    Args:
      error: standard error of the difference.
      freedom: degrees of freedom of its estimate.
      significance: two-sided level of the test.
      power: probability of a p value below that level.
    """
    quantiles = special.stdtrit(freedom, [1 - significance / 2, power])
    return float(quantiles.sum() * error)


def _student(
    difference: float,
    variance: float,
    parts: Sequence[tuple[float, int]],
    *,
    limit: float,
    least: float = 0.0,
) -> dict[str, Any]:
    """Returns Student's t interval and p value, with Satterthwaite's degrees of freedom.

    Args:
      difference: the estimate.
      variance: variance of the estimate.
      parts: the parts of the variance, each with its degrees of freedom.
      limit: the largest possible difference.
      least: the least degrees of freedom.
    """
    denominator = sum(part**2 / max(freedom, 1) for part, freedom in parts)
    freedom, error = max(variance**2 / denominator, least), np.sqrt(variance)
    half = special.stdtrit(freedom, (1 + intervals.CONFIDENCE) / 2) * error
    return {
        "interval": [max(-limit, difference - half), min(limit, difference + half)],
        "p": float(2 * special.stdtr(freedom, -abs(difference) / error)),
        "error": float(error),
        "freedom": float(freedom),
    }


def _adjusted_variance(difference: float, images: int) -> float:
    """Returns Bonett and Price's variance for the fewest discordant images with this difference."""
    more, fewer = (abs(difference) * images + 1) / (images + 2), 1 / (images + 2)
    return (more + fewer - (more - fewer) ** 2) / (images + 2)


def _variance(drawn: NDArray[np.float64]) -> float:
    """Returns the variance of the draws with a defined metric; NaN if there are none."""
    defined = drawn[np.isfinite(drawn)]
    return float(np.var(defined)) if defined.size else np.nan


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray:
    """Returns the weighted mean of the defined values over the rows; NaN if there are none."""
    defined = np.isfinite(values)
    weights = np.ones_like(values) if weights is None else weights
    total = np.sum(np.where(defined, values, 0) * weights, axis=0)
    with np.errstate(invalid="ignore"):
        return total / np.sum(defined * weights, axis=0)
