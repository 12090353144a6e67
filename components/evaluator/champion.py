"""Compares a challenger with the champion, the serving model, on the same images.

Both models predict the same images, each decides with its own threshold, and each metric's
difference, challenger minus champion, has a 95 % interval: Student's t with the variance of a
paired bootstrap, which draws images, with the predictions of both models, within each class. The
degrees of freedom are those of the rarer class. Few images of good models may not contain the image
on which they differ, so a bootstrap alone is too certain. Therefore

- metrics of decisions are drawn with one more image on each side of the disagreement in each class
  (Bonett and Price), as the bootstrap of a count of 0 has no variance;
- the other metrics have, in each class, the variance of half an image more on each side: for
  `pr_auc` and `auc` an image that one model ranks first and the other last, as in
  `components.evaluator.intervals`; for `brier` and `log_loss` one with the largest difference of
  all images of its class. For these two the variance of the bootstrap is that of a mean, and for
  `auc` it is computed as by DeLong et al., without draws;
- the interval of `ece` is widened by the amounts by which few images make it too high, see
  `components.evaluator.probability_quality`.

If both models predict the same for every image, every difference is exactly 0.

Sources: D. Bonett and R. Price, Adjusted Wald Confidence Interval for a Difference of Binomial
Proportions Based on Paired Data, Journal of Educational and Behavioral Statistics 37 (2012);
E. DeLong, D. DeLong, D. Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver
Operating Characteristic Curves: A Nonparametric Approach, Biometrics 44 (1988); B. Efron and
R. Tibshirani, An Introduction to the Bootstrap, 1993, for the rest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from components.evaluator import intervals, metrics, probability_quality
from components.evaluator.gates import COMPARED, EXPECTED_COST, HIGHEST, OF_COUNTS
from components.evaluator.metrics import Costs
from components.study_reporter import bootstrap

_OF_DECISIONS = (*OF_COUNTS, EXPECTED_COST)
_HALF_IMAGES = 0.5
MIN_IMAGES = 2
"""Images of each class; with fewer there is no interval."""
_DRAWS = 2000
_RANKED_DRAWS = 1000
_MIN_RANKED_DRAWS = 200
# Of images, models and draws; beyond it, fewer draws are made, as the interval is narrow anyway.
_MAX_VISITS = 40_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """The predictions of two models for the same images.

    Attributes:
      labels: bool (n,), whether each image is of the positive class.
      probabilities: float32 (2, n), of the challenger and of the champion.
      called: bool (2, n), the images that each predicts to be positive.
    """

    labels: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    called: NDArray[np.bool_]

    @property
    def positives(self) -> int:
        """Images of the positive class."""
        return int(np.count_nonzero(self.labels))

    @property
    def negatives(self) -> int:
        """Images of every other class."""
        return self.labels.size - self.positives

    @property
    def agrees(self) -> bool:
        """Whether both models predict the same for every image."""
        return all(bool((each[0] == each[1]).all()) for each in (self.probabilities, self.called))

    def of(self, chosen: ArrayLike) -> "Pair":
        """Returns the images for which `chosen`, bool (n,), is true."""
        members = np.asarray(chosen, bool)
        return Pair(self.labels[members], self.probabilities[:, members], self.called[:, members])


def compare(pair: Pair, prevalence: float, costs: Costs | None = None) -> dict[str, Any]:
    """Compares all of `gates.COMPARED`, at the images' own balance and at `prevalence`.

    Args:
      pair: the predictions, in an order that does not depend on shards and files.
      prevalence: share of positives in the real world.
      costs: costs of wrong decisions, for `expected_cost`; None if they are not known.

    Returns:
      `images`, `positives`, `agrees`, `metrics` and `at_prevalence`. The last two have, for each
      metric, `challenger`, `champion`, `difference` and `interval`, the 95 % interval of the
      difference: None if the metric is undefined. With fewer than 2 images of a class, all are
      None.
    """
    own = pair.positives / max(pair.labels.size, 1)
    return {
        "images": int(pair.labels.size),
        "positives": pair.positives,
        "agrees": pair.agrees,
        "metrics": _at(pair, own, costs),
        "at_prevalence": {"prevalence": prevalence, **_at(pair, prevalence, costs)},
    }


def _at(pair: Pair, share: float, costs: Costs | None) -> dict[str, dict[str, Any]]:
    if min(pair.positives, pair.negatives) < MIN_IMAGES:
        return {metric: _row(None, None, None) for metric in COMPARED}
    values = [_values(pair, model, share, costs) for model in (0, 1)]
    errors = {} if pair.agrees else _standard_errors(pair, share, costs)
    beyond = {} if pair.agrees else {"ece": _biases(pair, share)}
    t = float(
        special.stdtrit(min(pair.positives, pair.negatives) - 1, (1 + intervals.CONFIDENCE) / 2)
    )
    return {
        metric: _row(
            values[0][metric],
            values[1][metric],
            t * errors.get(metric, 0.0),
            beyond.get(metric, (0.0, 0.0)),
            most=HIGHEST[metric],
        )
        for metric in COMPARED
    }


def _row(
    challenger: float | None,
    champion: float | None,
    half: float | None,
    beyond: tuple[float, float] = (0.0, 0.0),
    *,
    most: float = math.inf,
) -> dict[str, Any]:
    """Returns the comparison of one metric, whose values are between 0 and `most`."""
    first, second, width = (_defined(value) for value in (challenger, champion, half))
    row = {"challenger": first, "champion": second, "difference": None, "interval": None}
    if first is None or second is None:
        return row
    difference = first - second
    if width is None:
        return {**row, "difference": difference}
    low, high = difference - width - beyond[0], difference + width + beyond[1]
    ends = [max(low, -most), min(high, most)]
    return {**row, "difference": difference, "interval": ends}


def _defined(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _values(pair: Pair, model: int, share: float, costs: Costs | None) -> dict[str, float]:
    """Computes the metrics of one model at a share of positives; NaN if undefined."""
    probabilities = pair.probabilities[model]
    counts = metrics.confusion(pair.labels, pair.called[model])
    quality = probability_quality.figures(pair.labels, probabilities, share)
    found: dict[str, Any] = {
        **_of_rates(counts.recall, counts.false_positive_rate, share, costs),
        "pr_auc": metrics.average_precision(pair.labels, probabilities, share),
        "auc": metrics.roc_auc(pair.labels, probabilities),
        **quality,
    }
    return {metric: float(found[metric]) for metric in COMPARED}


def _of_rates(
    recall: ArrayLike, false_positive_rate: ArrayLike, share: float, costs: Costs | None
) -> Mapping[str, NDArray[np.float64]]:
    return {
        **metrics.rates_at_prevalence(recall, false_positive_rate, share),
        **metrics.per_thousand(recall, false_positive_rate, share, costs),
    }


def _standard_errors(pair: Pair, share: float, costs: Costs | None) -> dict[str, float]:
    """Returns the standard error of each metric's difference; NaN if it is undefined."""
    ranked = _ranked_draws(pair)
    variances = {
        **_of_decisions(pair, share, costs),
        "pr_auc": _of_average_precision(pair, share, ranked),
        "auc": _of_roc_auc(pair),
        "ece": _of_calibration_error(pair, share, ranked),
        **{metric: _of_mean(pair, share, metric) for metric in probability_quality.LOSSES},
    }
    return {metric: math.sqrt(variance) for metric, variance in variances.items()}


def _ranked_draws(pair: Pair) -> int:
    affordable = _MAX_VISITS // pair.probabilities.size
    return min(_RANKED_DRAWS, max(_MIN_RANKED_DRAWS, affordable))


def _of_decisions(pair: Pair, share: float, costs: Costs | None) -> dict[str, float]:
    rng = np.random.default_rng(intervals.SEED)
    sides = [_drawn_shares(rng, pair.called[:, side]) for side in (pair.labels, ~pair.labels)]
    first, second = (_of_rates(sides[0][model], sides[1][model], share, costs) for model in (0, 1))
    return {metric: _variance(first[metric] - second[metric]) for metric in _OF_DECISIONS}


def _drawn_shares(rng: np.random.Generator, called: NDArray[np.bool_]) -> Array:
    """Draws the shares of a class's images that each model calls positive, (2, draws).

    A bootstrap of the images draws how many of them both, only one, or none of the models call
    positive.
    """
    first, second = called
    groups = (first & second, first & ~second, ~first & second, ~(first | second))
    counts = np.array([np.count_nonzero(group) for group in groups])
    counts += np.array([0, 1, 1, 0])
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), _DRAWS) / counts.sum()
    return np.stack([drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]])


def _of_average_precision(pair: Pair, share: float, draws: int) -> float:
    first, second = bootstrap.average_precisions(
        pair.labels.astype(np.int64), pair.probabilities, draws=draws, prevalence=share
    )
    return _variance(first - second) + _HALF_IMAGES / pair.positives**2


def _of_roc_auc(pair: Pair) -> float:
    """Returns DeLong's variance of the difference, and that of the half images."""
    parts = [_placements(pair.labels, scores) for scores in pair.probabilities]
    return sum(
        float(np.var(first - second, ddof=1)) / first.size + _HALF_IMAGES / first.size**2
        for first, second in zip(*parts, strict=True)
    )


def _placements(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> tuple[Array, Array]:
    """Returns, for each positive and each negative, the share of the other side ranked rightly."""
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])
    below, above = (
        (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right"))
        / (2 * others.size)
        for own, others in ((scores[labels], negatives), (scores[~labels], positives))
    )
    return below, 1 - above


def _of_mean(pair: Pair, share: float, metric: str) -> float:
    loss = probability_quality.LOSSES[metric]
    first, second = (loss(pair.labels, each.astype(np.float64)) for each in pair.probabilities)
    difference = first - second
    return sum(
        of_class**2
        * (float(np.var(each)) + _HALF_IMAGES * _largest(each) ** 2 / each.size)
        / each.size
        for of_class, each in (
            (share, difference[pair.labels]),
            (1 - share, difference[~pair.labels]),
        )
    )


def _largest(values: Array) -> float:
    return float(np.abs(values).max())


def _of_calibration_error(pair: Pair, share: float, draws: int) -> float:
    drawn = [np.empty(0), np.empty(0)]
    binned = [_BinnedGaps.of(pair.labels, each, share) for each in pair.probabilities]
    for weights in bootstrap.image_weights(pair.labels, draws):
        drawn = [
            np.append(before, gaps.error(weights))
            for before, gaps in zip(drawn, binned, strict=True)
        ]
    return _variance(drawn[0] - drawn[1])


@dataclass(frozen=True)
class _BinnedGaps:
    """The images in increasing order of probability, in the bins of the calibration error.

    Attributes:
      order: indices of the images.
      starts: start of each bin in `order`.
      gaps: (n, 1), probability minus label of each image, by its share of the population.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    gaps: NDArray[np.float64]

    @classmethod
    def of(
        cls, labels: NDArray[np.bool_], probabilities: NDArray[np.float32], share: float
    ) -> "_BinnedGaps":
        values = probabilities.astype(np.float64)
        order = np.argsort(values, kind="stable")
        lows = probability_quality.bin_starts(labels, values, share)
        positives = int(np.count_nonzero(labels))
        weights = np.where(labels, share / positives, (1 - share) / (labels.size - positives))
        starts = np.searchsorted(values[order], lows)
        return cls(order, starts, ((values - labels) * weights)[order, None])

    def error(self, weights: NDArray[np.float32]) -> Array:
        """Computes the calibration error in each draw, with (n, draws) weights."""
        sums = np.add.reduceat(weights[self.order] * self.gaps, self.starts, axis=0)
        return np.abs(sums).sum(axis=0)


def _biases(pair: Pair, share: float) -> tuple[float, float]:
    """Returns how much too high few images make the error, of the challenger and the champion."""
    first, second = (
        probability_quality.figures(pair.labels, each, share)["ece_of_calibrated"]
        for each in pair.probabilities
    )
    return float(first), float(second)


def _variance(drawn: Array) -> float:
    """Returns the variance of the draws in which the metric is defined; NaN without any."""
    defined = drawn[np.isfinite(drawn)]
    return float(np.var(defined)) if defined.size else math.nan
