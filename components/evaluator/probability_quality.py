"""How good probabilities are at a prevalence: Brier score, log loss and calibration error.

Every figure weights the negatives such that the share of positives is the prevalence.

- `brier`: mean squared difference between probability and label.
- `log_loss`: mean cross-entropy in nats; probabilities are clipped to [1e-7, 1 - 1e-7], as in
  Keras.
- `ece`: expected calibration error: the mean, over bins of equal weight, of the absolute difference
  between the mean probability and the share of positives. There are 15 bins, or fewer, but at least
  5, if there are fewer than 10 positives per bin.

Noise makes a bin's difference larger than it is in the population, so `ece` is too high with few
images: `ece_of_calibrated` is what a perfectly calibrated model would have on average on as many
images. The interval includes this bias: it begins below the figure by the bias and 1.96 standard
errors, and ends above it by 1.96 standard errors. It holds whatever the true error is, as the bias
is largest for a calibrated model, and a sum of absolute values varies at most as much as the sum of
its terms. The intervals of the two means are Student's t on a log scale, with Welch's degrees of
freedom, and extend at least to the mean with half an image more on each side: a positive with the
lowest of all probabilities and a negative with the highest. `python -m benchmarks.intervals` prints
the coverage of all three.

Sources: G. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather
Review 78 (1950); M. Pakdaman Naeini, G. Cooper, M. Hauskrecht, Obtaining Well Calibrated
Probabilities Using Bayesian Binning, AAAI 2015 (ECE); K. Nguyen, B. O'Connor, Posterior Calibration
and Exploratory Analysis for Natural Language Processing Models, EMNLP 2015 (bins of equal mass);
R. Roelofs et al., Mitigating Bias in Calibration Error Estimation, AISTATS 2022 (the bias).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from components.evaluator import intervals
from components.evaluator.intervals import CONFIDENCE, Interval
from components.evaluator.metrics import Confusion, negative_weight

METRICS = ("ece", "brier", "log_loss")

_MAX_BINS, _MIN_BINS, _POSITIVES_PER_BIN = 15, 5, 10
# As in Keras, which clips probabilities before it takes the logarithm.
_EPSILON = 1e-7
_UPPER = (1 + CONFIDENCE) / 2

Array = NDArray[np.float64]


def brier_losses(labels: NDArray[np.bool_], probabilities: Array) -> Array:
    """Returns the squared difference of each image, (n,)."""
    return (probabilities - labels) ** 2


def log_losses(labels: NDArray[np.bool_], probabilities: Array) -> Array:
    """Returns the cross-entropy of each image in nats, (n,)."""
    clipped = np.clip(probabilities, _EPSILON, 1 - _EPSILON)
    return -np.where(labels, np.log(clipped), np.log1p(-clipped))


Loss = Callable[[NDArray[np.bool_], Array], Array]

LOSSES: dict[str, Loss] = {"brier": brier_losses, "log_loss": log_losses}
"""The metrics that are means over images, as functions of labels and probabilities."""


def figures(labels: ArrayLike, probabilities: ArrayLike, prevalence: float) -> dict[str, float]:
    """Returns `METRICS` and `ece_of_calibrated`; see `reliability` for arguments and errors."""
    truth, values = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    sides = _Sides.of(truth, prevalence)
    return _figures(truth, values, sides, _Bins.of(truth, values, sides))


def bin_starts(labels: ArrayLike, probabilities: ArrayLike, prevalence: float) -> Array:
    """Returns the lowest probability of each bin, increasing; see `reliability` for arguments."""
    truth, values = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    return _Bins.of(truth, values, _Sides.of(truth, prevalence)).low


def _figures(
    truth: NDArray[np.bool_], values: Array, sides: "_Sides", bins: "_Bins"
) -> dict[str, float]:
    weights = sides.weights(truth)
    return {
        "ece": bins.error,
        **{name: float(weights @ loss(truth, values)) for name, loss in LOSSES.items()},
        "ece_of_calibrated": bins.bias,
    }


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, prevalence: float, *, seed: int
) -> dict[str, Any]:
    """Returns the figures at a prevalence, with their intervals and the bins of `ece`.

    Args:
      labels: (n,), 1 for the positive class and 0 for all others; both occur.
      probabilities: (n,), 0 to 1.
      prevalence: share of positives, above 0 and below 1.
      seed: seed of the intervals of the bins; the order of the images does not matter.

    Returns:
      `METRICS` and `ece_of_calibrated`; `intervals`, a 95 % interval by metric; `bins`, from the
      lowest probabilities to the highest: `low` and `high`, the lowest and highest probability;
      `predicted`, the mean probability; `observed`, the share of positives, with its 95 %
      `interval`; `weight`, the bin's share of the population; `images` and `positives`.

    Raises:
      ValueError: the prevalence is out of range.
    """
    truth, values = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    sides = _Sides.of(truth, prevalence)
    bins = _Bins.of(truth, values, sides)
    return {
        **_figures(truth, values, sides, bins),
        "intervals": {
            "ece": bins.interval,
            **{
                name: _interval_of_mean(loss, truth, values, sides) for name, loss in LOSSES.items()
            },
        },
        "bins": bins.rows(seed),
    }


@dataclass(frozen=True)
class _Sides:
    """Number of images of each side, and the share of positives that they are weighted to."""

    positives: int
    negatives: int
    prevalence: float

    @classmethod
    def of(cls, truth: NDArray[np.bool_], prevalence: float) -> "_Sides":
        positives = int(np.count_nonzero(truth))
        negatives = truth.size - positives
        # Checks the prevalence.
        negative_weight(positives, negatives, prevalence)
        return cls(positives, negatives, prevalence)

    def weights(self, truth: NDArray[np.bool_]) -> Array:
        """Returns the share of the population that each image represents, (n,)."""
        shares = self.prevalence / self.positives, (1 - self.prevalence) / self.negatives
        return np.where(truth, *shares)


@dataclass(frozen=True)
class _Bins:
    """Images in bins of equal weight, in increasing order of probability; none is empty.

    Attributes:
      sides: all images.
      low: lowest probability, (bins,).
      high: highest probability.
      positives: number of positives.
      negatives: number of negatives.
      weight: share of the population.
      predicted: weighted mean of the probabilities.
      observed: weighted share of positives.
    """

    sides: _Sides
    low: Array
    high: Array
    positives: Array
    negatives: Array
    weight: Array
    predicted: Array
    observed: Array

    @classmethod
    def of(cls, truth: NDArray[np.bool_], values: Array, sides: _Sides) -> "_Bins":
        distinct, groups = np.unique(values, return_inverse=True)
        weights = sides.weights(truth)
        mass = _totals(groups, weights)
        wanted = min(_MAX_BINS, max(_MIN_BINS, sides.positives // _POSITIVES_PER_BIN))
        # Equal probabilities are never in two bins.
        places = np.floor((np.cumsum(mass) - mass / 2) * wanted).astype(int)
        _, starts, of_group = np.unique(places, return_index=True, return_inverse=True)
        index = of_group[groups]
        weight, positives = _totals(index, weights), _totals(index, truth)
        return cls(
            sides=sides,
            low=distinct[starts],
            high=distinct[np.append(starts[1:], distinct.size) - 1],
            positives=positives,
            negatives=_totals(index, ~truth),
            weight=weight,
            predicted=_totals(index, weights * values) / weight,
            observed=_totals(index, weights * truth) / weight,
        )

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float(self.weight @ np.abs(self.predicted - self.observed))

    @property
    def _variances(self) -> Array:
        """Variance of each bin's term of the error, before its absolute value is taken.

        Half an image is added to each count, so that a bin without a positive has a variance.
        """
        sides, halves = self.sides, 0.5 * self.weight.size
        share = (self.positives + 0.5) / (sides.positives + halves)
        others = (self.negatives + 0.5) / (sides.negatives + halves)
        # Not times 1 - share: the counts of two bins are not independent.
        return self._terms(share, others)

    @property
    def bias(self) -> float:
        """The mean error of a perfectly calibrated model: its terms are about half-normal."""
        calibrated = self.weight * np.clip(self.predicted, _EPSILON, 1 - _EPSILON)
        share = calibrated / calibrated.sum()
        others = (self.weight - calibrated) / (1 - calibrated.sum())
        variances = self._terms(share * (1 - share), others * (1 - others))
        return float(np.sum(np.sqrt(2 * np.maximum(variances, 0) / math.pi)))

    def _terms(self, of_positives: Array, of_negatives: Array) -> Array:
        """Returns the variance of each bin's term, from that of the shares of each side in it."""
        sides, missed = self.sides, 1 - self.predicted
        positives = (sides.prevalence * missed) ** 2 * of_positives / sides.positives
        negatives = ((1 - sides.prevalence) * self.predicted) ** 2 * of_negatives / sides.negatives
        return positives + negatives

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the error."""
        half = float(special.ndtri(_UPPER) * np.sqrt(self._variances.sum()))
        return max(0.0, self.error - self.bias - half), min(1.0, self.error + half)

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Returns the bins as plain values."""
        return [
            {
                "low": float(self.low[index]),
                "high": float(self.high[index]),
                "predicted": float(self.predicted[index]),
                "observed": float(self.observed[index]),
                "interval": self._interval_of_observed(index, seed),
                "weight": float(self.weight[index]),
                "images": int(self.positives[index] + self.negatives[index]),
                "positives": int(self.positives[index]),
            }
            for index in range(self.weight.size)
        ]

    def _interval_of_observed(self, index: int, seed: int) -> Interval:
        # The share of positives in a bin is the precision of the prediction «is in the bin».
        tp, fp = int(self.positives[index]), int(self.negatives[index])
        counts = Confusion(tp, fp, self.sides.negatives - fp, self.sides.positives - tp)
        return intervals.at_prevalence(counts, self.sides.prevalence, seed=seed)["precision"]


def _totals(groups: NDArray[np.int64], values: NDArray) -> Array:
    return np.bincount(groups, values).astype(np.float64)


def _interval_of_mean(
    loss: Loss, truth: NDArray[np.bool_], values: Array, sides: _Sides
) -> Interval:
    """Returns the interval of a weighted mean; None if a side has only one image."""
    losses = loss(truth, values)
    parts = [losses[truth], losses[~truth]]
    if min(part.size for part in parts) < 2:
        return None
    shares = sides.prevalence, 1 - sides.prevalence
    low, high = _student(parts, shares)
    # Few images of a good model contain no bad error, whose loss would be large.
    worst = loss(np.array([True, False]), np.array([values.min(), values.max()]))
    possible = sum(
        share * (part.sum() + 0.5 * error) / (part.size + 0.5)
        for share, part, error in zip(shares, parts, worst, strict=True)
    )
    return low, max(high, float(possible))


def _student(parts: Sequence[Array], shares: Sequence[float]) -> tuple[float, float]:
    """Returns Student's interval of the weighted mean of the parts' means, on a log scale.

    The losses are skewed, and their mean is not negative.
    """
    mean = sum(share * float(part.mean()) for share, part in zip(shares, parts, strict=True))
    variances = [
        share**2 * float(part.var(ddof=1)) / part.size
        for share, part in zip(shares, parts, strict=True)
    ]
    if not (variance := sum(variances)):
        return mean, mean
    freedom = variance**2 / sum(
        each**2 / (part.size - 1) for each, part in zip(variances, parts, strict=True)
    )
    spread = math.exp(float(special.stdtrit(freedom, _UPPER)) * math.sqrt(variance) / mean)
    return mean / spread, mean * spread
