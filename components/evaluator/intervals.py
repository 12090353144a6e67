"""95 % confidence intervals of a model's metrics, in numpy alone and by a seed."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.evaluator.metrics import Confusion, rates_at_prevalence, tie_ends

CONFIDENCE = 0.95
"""How often the method's intervals hold the true value."""
_REPLICATES = 2000
# The bootstrap of average precision draws every image anew in each replicate, so on a
# large split fewer replicates are drawn: the interval is narrow there anyway.
_MAX_DRAWS = 200_000_000
_MIN_REPLICATES = 200
_DRAWS_AT_ONCE = 1_000_000

Interval = tuple[float, float] | None
"""Lower and upper end; None for a metric that is undefined."""


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a share; sound for few trials and at 0 and 1.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical
    Inference, JASA 22 (1927).

    Args:
      successes: between 0 and `trials`.
      trials: 0 gives an undefined interval.
    """
    if not trials:
        return None
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def of_rates(counts: Confusion) -> dict[str, Interval]:
    """Wilson's intervals of the rates that are a share of images."""
    return {
        "recall": wilson(counts.tp, counts.positives),
        "precision": wilson(counts.tp, counts.tp + counts.fp),
        "specificity": wilson(counts.tn, counts.negatives),
        "accuracy": wilson(counts.tp + counts.tn, counts.positives + counts.negatives),
    }


def of_f1(counts: Confusion, *, seed: int) -> Interval:
    """Percentile bootstrap of F1, drawn within each class.

    To draw a class's images anew is to draw the count of those called positive from a
    binomial, so no image is touched.
    """
    rng = np.random.default_rng(seed)
    tp = _redraw(rng, counts.tp, counts.positives)
    fp = _redraw(rng, counts.fp, counts.negatives)
    return _percentiles(2 * tp / (tp + fp + counts.positives))


def of_average_precision(
    labels: ArrayLike, probabilities: ArrayLike, *, seed: int, prevalence: float | None = None
) -> Interval:
    """Percentile bootstrap of average precision, drawn within each class.

    Time grows with images times replicates (2,000 for up to 100,000 images, then fewer,
    at least 200); memory stays at some tens of megabytes beside the images' own.

    Args:
      labels: (n,), 1 for the positive class and 0 for every other; both must occur.
      probabilities: (n,), finite.
      seed: gives the same interval for the same predictions in any order.
      prevalence: share of positives to take precision at; the data's own where None.
    """
    truth, scores = np.asarray(labels, bool), np.asarray(probabilities)
    order = np.argsort(-scores)
    truth, ends = truth[order], tie_ends(scores[order])
    rng = np.random.default_rng(seed)
    negatives_a_positive = np.count_nonzero(~truth) / np.count_nonzero(truth)
    # How many negatives of the real world each negative of the data stands for.
    odds = 1.0 if prevalence is None else (1 - prevalence) / prevalence / negatives_a_positive
    replicates = min(_REPLICATES, max(_MIN_REPLICATES, _MAX_DRAWS // truth.size))
    at_once = max(1, _DRAWS_AT_ONCE // truth.size)
    sizes = [min(at_once, replicates - done) for done in range(0, replicates, at_once)]
    return _percentiles(np.concatenate([_draw_ap(rng, truth, ends, odds, size) for size in sizes]))


def at_prevalence(counts: Confusion, prevalence: float, *, seed: int) -> dict[str, Interval]:
    """Intervals of the rates at `prevalence`, which is taken as known.

    Recall and specificity do not change with it and keep Wilson's. For the others, recall
    and false positive rate are drawn from their Jeffreys posteriors, which stay
    honest where a count is 0 (L. Brown, T. Cai, A. DasGupta, Interval Estimation for a
    Binomial Proportion, Statistical Science 16, 2001).
    """
    rng = np.random.default_rng(seed)
    recall = rng.beta(counts.tp + 0.5, counts.fn + 0.5, _REPLICATES)
    false_positive_rate = rng.beta(counts.fp + 0.5, counts.tn + 0.5, _REPLICATES)
    drawn = rates_at_prevalence(recall, false_positive_rate, prevalence)
    own = of_rates(counts)
    return {
        name: own[name] if name in ("recall", "specificity") else _percentiles(values)
        for name, values in drawn.items()
    }


def _redraw(rng: np.random.Generator, successes: int, trials: int) -> NDArray[np.int64]:
    return rng.binomial(trials, successes / trials if trials else 0.0, _REPLICATES)


def _draw_ap(
    rng: np.random.Generator,
    truth: NDArray[np.bool_],
    ends: NDArray[np.intp],
    odds: float,
    size: int,
) -> NDArray[np.float64]:
    """Average precision of `size` redraws of images that are sorted by falling score."""
    tp = _weights(rng, truth, size).cumsum(axis=1)[:, ends]
    fp = _weights(rng, ~truth, size).cumsum(axis=1)[:, ends]
    # Before the first positive precision is 0, and recall makes no step.
    precision = tp / np.where(tp, tp + odds * fp, 1)
    steps = np.diff(tp, axis=1, prepend=0) / tp[:, -1:]
    return (steps * precision).sum(axis=1)


def _weights(rng: np.random.Generator, members: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """How often each image is drawn, (size, n): members among themselves, others never."""
    count = int(np.count_nonzero(members))
    drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
    weights = np.zeros((size, members.size), np.int64)
    weights[:, members] = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
    return weights


def _percentiles(values: NDArray) -> Interval:
    """The middle 95 % of the draws, undefined ones left out."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
