"""95 % confidence intervals of a model's metrics, reproducible by a seed.

A proportion of images has Wilson's interval. Metrics that combine both classes (precision, F1,
accuracy and the areas under the curves) are computed on ROC curves drawn from a posterior: the
images of a class have random weights that sum to 1, together with half an image that scores above
all others and half an image that scores below. At each threshold recall and false positive rate
then have their Jeffreys posteriors, which are valid even if a count is 0, as for a perfect model; a
bootstrap of perfect counts has no width. `python -m benchmarks.intervals` prints the coverage of
each interval, from 1 positive image on.

Sources: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA
22 (1927); L. Brown, T. Cai, A. DasGupta, Interval Estimation for a Binomial Proportion,
Statistical Science 16 (2001); D. Rubin, The Bayesian Bootstrap, Annals of Statistics 9 (1981);
K. Boyd, K. Eng, C. D. Page, Area under the Precision-Recall Curve: Point Estimates and Confidence
Intervals, ECML PKDD 2013, for average precision as a share of the positive images.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from components.evaluator.metrics import (
    Confusion,
    Costs,
    average_precision,
    curve,
    f_beta,
    negative_weight,
    per_thousand,
    rates_at_prevalence,
    roc_auc,
)

CONFIDENCE = 0.95
"""Nominal coverage of the intervals."""
SEED = 0
"""The seed of all intervals of an evaluation: the same predictions give the same intervals."""
_ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_REPLICATES = 2000
# Each replicate draws a weight for every positive image, so fewer replicates are drawn on a large
# split, where the interval is narrow anyway.
_MAX_DRAWS = 20_000_000
_MIN_REPLICATES = 200
_DRAWS_AT_ONCE = 1_000_000
# A recall such as 0.3, as a sum of shares of positives, may be a little lower.
_ROUNDING = 1e-9
_TINY = np.finfo(np.float64).tiny
# Jeffreys' prior: half a success and half a failure.
_JEFFREYS = 0.5

Interval = tuple[float, float] | None
"""Lower and upper end; None if the metric is undefined."""


@functools.lru_cache(maxsize=4096)  # the same counts occur at several balances
def wilson(successes: int, trials: int) -> Interval:
    """Returns Wilson's score interval of a proportion; valid for few trials and at 0 and 1.

    Args:
      successes: between 0 and `trials`.
      trials: the interval is undefined for 0.
    """
    # Imported here, since the import takes a third of a second that not every step needs.
    from scipy.stats import binomtest

    if not trials:
        return None
    found = binomtest(int(successes), int(trials)).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def of_rates(counts: Confusion) -> dict[str, Interval]:
    """Returns Wilson's intervals of the rates that are a proportion of images."""
    return {
        "recall": wilson(counts.tp, counts.positives),
        "precision": wilson(counts.tp, counts.tp + counts.fp),
        "specificity": wilson(counts.tn, counts.negatives),
        "accuracy": wilson(counts.tp + counts.tn, counts.positives + counts.negatives),
    }


def at_prevalence(
    counts: Confusion, prevalence: float, *, seed: int, costs: Costs | None = None
) -> dict[str, Interval]:
    """Returns intervals of the rates at a share of positives `prevalence`, assumed to be known.

    Recall and specificity do not depend on it and have Wilson's interval. The others are computed
    from draws of recall and false positive rate, and include the interval that results from recall
    alone: without a false positive, the half image that is added must not exclude a perfect model.

    Args:
      counts: counts with images of both classes.
      prevalence: above 0 and below 1; may be the share of positives in the counts.
      seed: seed of the draws.
      costs: for `expected_cost`, which is None without them.
    """
    shares = Shares(counts.tp, counts.positives, counts.fp, counts.negatives)
    drawn = of_shares(shares, prevalence, seed=seed, costs=costs)
    return {
        **drawn,
        "recall": wilson(counts.tp, counts.positives),
        "specificity": wilson(counts.tn, counts.negatives),
    }


class Shares(NamedTuple):
    """Counts of images called positive; they need not be whole numbers."""

    tp: float
    positives: int
    fp: float
    negatives: int


def of_shares(
    shares: Shares,
    prevalence: float,
    *,
    seed: int,
    costs: Costs | None = None,
    beta: float | None = None,
) -> dict[str, Interval]:
    """Returns the intervals of `at_prevalence`, all of them from draws.

    Args:
      shares: with images of both classes.
      prevalence: as in `at_prevalence`.
      seed: as in `at_prevalence`.
      costs: as in `at_prevalence`.
      beta: for `f_beta`, which is left out without it.
    """
    rng = np.random.default_rng(seed)
    tp, positives, fp, negatives = shares
    recall = rng.beta(tp + _JEFFREYS, positives - tp + _JEFFREYS, _REPLICATES)
    alarms = rng.beta(fp + _JEFFREYS, negatives - fp + _JEFFREYS, _REPLICATES)

    def figures(recall: ArrayLike, alarms: ArrayLike) -> dict[str, NDArray[np.float64]]:
        return {
            **rates_at_prevalence(recall, alarms, prevalence),
            **per_thousand(recall, alarms, prevalence, costs),
            **({} if beta is None else {"f_beta": f_beta(recall, alarms, prevalence, beta)}),
        }

    drawn, found = figures(recall, alarms), figures(tp / positives, fp / negatives)
    by_recall = figures(recall, np.full_like(recall, fp / negatives))
    return {name: around(float(found[name]), drawn[name], by_recall[name]) for name in found}


def of_slice(counts: Confusion, *, seed: int, share: float | None = None) -> dict[str, Interval]:
    """Returns intervals of the rates within a slice, which may have images of one class only.

    Args:
      counts: the counts within the slice.
      seed: seed of the draws.
      share: share of positives in the slice in the real world, assumed to be known; None for the
        slice's own balance, at which precision and accuracy are proportions of its images.
    """
    found = {**of_rates(counts), "f1": None}
    if not (counts.positives and counts.negatives):
        return found if share is None else {**found, "precision": None}
    own = counts.positives / (counts.positives + counts.negatives)
    drawn = at_prevalence(counts, own if share is None else share, seed=seed)
    replaced = ("f1",) if share is None else tuple(found)
    return {**found, **{name: drawn[name] for name in replaced}}


def of_areas(
    labels: ArrayLike, probabilities: ArrayLike, *, seed: int, prevalence: float | None = None
) -> dict[str, Interval]:
    """Returns intervals of `pr_auc` and `auc` at one balance, see `of_areas_at`."""
    (found,) = of_areas_at(labels, probabilities, [prevalence], seed=seed)
    return found


def of_areas_at(
    labels: ArrayLike,
    probabilities: ArrayLike,
    prevalences: Sequence[float | None],
    *,
    seed: int,
) -> list[dict[str, Interval]]:
    """Returns intervals of `pr_auc` (average precision) and `auc` (area under the ROC curve).

    The interval of average precision includes its Jeffreys interval as a proportion of the positive
    images, and that of the area under the ROC curve the upper end of its Jeffreys interval as a
    proportion of the rarer class: for models that rank images very badly or very well, the draws
    alone are too low.

    Time grows with the number of distinct scores of positive images times replicates (2,000 for up
    to about 5,000 scores, then fewer, at least 200), and does not depend on the number of
    balances; memory is a few tens of megabytes in addition to the arguments.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both must occur.
      probabilities: (n,), finite.
      prevalences: shares of positives for the precision; None for the share in the data.
      seed: seed of the draws; the order of the predictions does not matter.

    Returns:
      The intervals at each of `prevalences`.
    """
    truth, scores = np.asarray(labels, bool), np.asarray(probabilities)
    positives = int(np.count_nonzero(truth))
    negatives = truth.size - positives
    # Negatives per positive in the real world.
    odds = [
        negative_weight(positives, negatives, prevalence) * negatives / positives
        for prevalence in prevalences
    ]
    drawn = np.concatenate(
        [_areas(*rates, odds) for rates in _drawn_curves(truth, scores, seed)], axis=1
    )
    auc = roc_auc(truth, scores)
    highest = _jeffreys(auc, min(positives, negatives))[1]
    of_auc = _around(auc, drawn[-1], also=(auc, highest))
    areas = [average_precision(truth, scores, prevalence) for prevalence in prevalences]
    return [
        {"pr_auc": _around(area, draws, also=_jeffreys(area, positives)), "auc": of_auc}
        for area, draws in zip(areas, drawn[:-1], strict=True)
    ]


def of_precision(
    labels: ArrayLike,
    probabilities: ArrayLike,
    recalls: ArrayLike,
    *,
    seed: int,
    prevalence: float | None = None,
) -> NDArray[np.float64]:
    """Returns the interval of precision at each recall: a pointwise band of the curve.

    Between two thresholds of a drawn curve, recall and false positive rate are interpolated
    linearly: that is what a random choice between the two thresholds gives. The band includes the
    curve itself: the half images that are added must not exclude a perfect model.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both must occur.
      probabilities: (n,), finite.
      recalls: (k,), above 0 and at most 1.
      seed: seed of the draws; the order of the predictions does not matter.
      prevalence: share of positives for the precision; None for the share in the data.

    Returns:
      float64 (2, k): lower and upper ends.
    """
    truth, at = np.asarray(labels, bool), np.asarray(recalls, np.float64)
    positives = int(np.count_nonzero(truth))
    negatives = truth.size - positives
    odds = negative_weight(positives, negatives, prevalence) * negatives / positives
    false_positive_rates = [
        np.interp(at, np.append(0.0, recall), np.append(0.0, false_positive_rate))
        for rates in _drawn_curves(truth, np.asarray(probabilities), seed)
        for recall, false_positive_rate in zip(*rates, strict=True)
    ]
    precision = at / np.maximum(at + odds * np.stack(false_positive_rates), _TINY)
    low, high = np.quantile(precision, _ENDS, axis=0)
    points = curve(truth, probabilities, prevalence)
    found = points.precision[np.searchsorted(points.recall, at - _ROUNDING)]
    return np.stack([np.minimum(low, found), np.maximum(high, found)])


def _drawn_curves(
    truth: NDArray[np.bool_], scores: NDArray, seed: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yields recall and false positive rate, (draws, thresholds) each, in batches of draws."""
    rng = np.random.default_rng(seed)
    sides = _images_by_score(truth, scores)
    thresholds = sides[0].size
    replicates = min(_REPLICATES, max(_MIN_REPLICATES, _MAX_DRAWS // thresholds))
    at_once = max(1, _DRAWS_AT_ONCE // thresholds)
    for done in range(0, replicates, at_once):
        shape = min(at_once, replicates - done), thresholds
        # The total weight of k images is gamma(k), a sum of k exponential weights.
        totals = [np.cumsum(rng.standard_gamma(images, shape), axis=1) for images in sides]
        yield totals[0] / totals[0][:, -1:], totals[1] / totals[1][:, -1:]


def _images_by_score(
    truth: NDArray[np.bool_], scores: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts positive and negative images by score, from the highest, half images at the ends.

    Negatives between two scores of positives are merged, as no threshold between them is better.
    """
    _, place = np.unique(-scores, return_inverse=True)
    positives, negatives = (
        np.concatenate([[_JEFFREYS], np.bincount(place, members), [_JEFFREYS]])
        for members in (truth, ~truth)
    )
    has_positives = positives > 0
    starts = np.flatnonzero(has_positives | np.append(True, has_positives[:-1]))
    return np.add.reduceat(positives, starts), np.add.reduceat(negatives, starts)


def _areas(
    recall: NDArray[np.float64], false_positive_rate: NDArray[np.float64], odds: Sequence[float]
) -> NDArray[np.float64]:
    """Returns the areas of each draw, (len(odds) + 1, draws): average precision by odds, ROC."""
    steps = np.diff(recall, axis=1, prepend=0)
    precisions = (recall / np.maximum(recall + each * false_positive_rate, _TINY) for each in odds)
    of_roc = np.trapezoid(
        np.insert(recall, 0, 0, axis=1), np.insert(false_positive_rate, 0, 0, axis=1), axis=1
    )
    return np.stack([*((steps * precision).sum(axis=1) for precision in precisions), of_roc])


def _jeffreys(share: float, trials: int) -> tuple[float, float]:
    """Returns Jeffreys' interval of a proportion; `share * trials` need not be an integer."""
    successes, failures = share * trials, (1 - share) * trials
    low, high = special.betaincinv(successes + _JEFFREYS, failures + _JEFFREYS, _ENDS)
    return float(low), float(high)


def drawn_shares(
    rng: np.random.Generator, called: float, reviewed: float, total: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draws the shares of a class's images above two thresholds, as on the curves of `of_areas`.

    Args:
      rng: source of the draws.
      called: number of images above the upper threshold; need not be a whole number.
      reviewed: number of images between the thresholds.
      total: number of images.

    Returns:
      The share above the upper threshold and the share between the two, drawn together; and the
      latter drawn alone, with its Jeffreys posterior.
    """
    above = rng.standard_gamma(called + _JEFFREYS, _REPLICATES)
    between = rng.standard_gamma(reviewed, _REPLICATES)
    below = rng.standard_gamma(max(total - called - reviewed, 0) + _JEFFREYS, _REPLICATES)
    whole = above + between + below
    alone = rng.beta(reviewed + _JEFFREYS, total - reviewed + _JEFFREYS, _REPLICATES)
    return above / whole, between / whole, alone


def _middle(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the ends of the central 95 % of the draws."""
    low, high = np.quantile(drawn, _ENDS)
    return float(low), float(high)


def _around(found: float, drawn: NDArray[np.float64], *, also: tuple[float, float]) -> Interval:
    """Returns the central 95 % of the draws, widened to include `found` and `also`."""
    if math.isnan(found):
        return None
    bounds = [*_middle(drawn), *also, found]
    return min(bounds), max(bounds)


def around(found: float, drawn: NDArray[np.float64], by_recall: NDArray[np.float64]) -> Interval:
    """Returns the interval of a figure from draws of recall and false positive rate.

    Args:
      found: the figure; NaN if it is undefined.
      drawn: the figure of each draw; NaN if it is undefined.
      by_recall: the same with the false positive rate that was found, see `at_prevalence`.
    """
    defined, others = (values[np.isfinite(values)] for values in (drawn, by_recall))
    if math.isnan(found) or not defined.size:
        return None
    return _around(found, defined, also=_middle(others) if others.size else (found, found))
