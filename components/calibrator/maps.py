"""Monotone maps from log odds to probabilities, fitted on val at the population's prevalence.

Every map is fitted on log odds x that are already at the population's prevalence, see
`prior_shift`, and has the form sigmoid(low * log(s) - high * log(1 - s) + intercept), where
s = sigmoid(x):

- `none`: low = high = 1, intercept = 0.
- `temperature`: low = high, intercept = 0.
- `platt`: low = high.
- `beta`: all three.
- `isotonic`: isotonic regression, interpolated linearly, with a share of 1 % of Platt's map, by
  which it is strictly increasing and never 0 or 1.

Slopes are above 0, so a map is strictly increasing and keeps the order of the images.

The parameters minimise the weighted cross-entropy with Platt's targets, (P + 1) / (P + 2) for
positives and 1 / (N + 2) for negatives, by which they are finite even if the sides are separated.
P and N are sums of weights, as in scikit-learn, so that the targets do not change the mean
probability. The problem is convex and SciPy solves it: scikit-learn's calibration has neither a
bound on the slope nor beta calibration, `betacal` has had no release since 2021, and `netcal` has
no sample weights and requires PyTorch.

Sources: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (temperature); J. Platt,
Probabilistic Outputs for Support Vector Machines, Advances in Large Margin Classifiers (1999);
M. Kull, T. Silva Filho, P. Flach, Beta Calibration, AISTATS 2017; B. Zadrozny, C. Elkan,
Transforming Classifier Scores into Accurate Multiclass Probability Estimates, KDD 2002 (isotonic).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

NONE = "none"
TEMPERATURE = "temperature"
PLATT = "platt"
BETA = "beta"
ISOTONIC = "isotonic"
SIMPLEST_FIRST = (NONE, TEMPERATURE, PLATT, BETA, ISOTONIC)

LEAST_SLOPE = 0.01
"""Lowest slope of a map: the order of the images is kept even if a model has learned nothing."""
PLATT_SHARE = 0.01
"""Share of Platt's map in `isotonic`."""
# Log odds of about 1e-7. A single image beyond, such as a positive with a score of 1e-30, would
# otherwise determine the map.
_LIMIT = 16.0
# Each fitted map's columns of (log(s), -log(1 - s), 1), as the sum of these columns.
_COLUMNS = {
    TEMPERATURE: np.array([[1.0, 1.0, 0.0]]),
    PLATT: np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    BETA: np.eye(3),
}
_SLOPES = {TEMPERATURE: 1, PLATT: 1, BETA: 2}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Map:
    """A map from log odds to probabilities.

    Attributes:
      name: one of `SIMPLEST_FIRST`.
      low: slope where probabilities are low, at least `LEAST_SLOPE`.
      high: slope where probabilities are high, at least `LEAST_SLOPE`.
      intercept: what is added to the log odds.
      knots: log odds and probabilities, in increasing order, between which `isotonic` is linear;
        empty for the other maps.
    """

    name: str
    low: float = 1.0
    high: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def log_odds(self, population: Array) -> Array:
        """Returns calibrated log odds, (n,).

        Args:
          population: float64 (n,), log odds at the population's prevalence.
        """
        parameters = np.array([self.low, self.high, self.intercept])
        mapped = np.einsum("nk,k->n", _features(population), parameters)
        if not self.knots:
            return mapped
        places, values = np.array(self.knots).T
        blend = PLATT_SHARE * special.expit(mapped)
        return special.logit((1 - PLATT_SHARE) * np.interp(population, places, values) + blend)

    def probabilities(self, population: Array) -> Array:
        """Returns calibrated probabilities, (n,); the argument is that of `log_odds`."""
        return special.expit(self.log_odds(population))


def losses(population: Array, labels: NDArray[np.int64]) -> Array:
    """Returns the cross-entropy of each image in nats, (n,).

    Args:
      population: float64 (n,), calibrated log odds; limited to ±16, as in Keras.
      labels: int (n,), 1 for positive.
    """
    limited = np.clip(population, -_LIMIT, _LIMIT)
    return np.logaddexp(0, np.where(labels == 1, -limited, limited))


def fit(name: str, population: Array, labels: NDArray[np.int64], weight: float) -> Map:
    """Fits a map.

    Args:
      name: one of `SIMPLEST_FIRST`.
      population: float64 (n,), log odds at the population's prevalence.
      labels: int (n,), 1 for positive and 0 for negative; both occur.
      weight: weight of each negative image; that of a positive is 1.
    """
    if name == NONE:
        return Map(NONE)
    limited = np.clip(population, -_LIMIT, _LIMIT)
    if name == ISOTONIC:
        platt = fit(PLATT, limited, labels, weight)
        knots = _isotonic(limited, labels, weight)
        return Map(ISOTONIC, platt.low, platt.high, platt.intercept, knots)
    parameters = _minimum(
        np.einsum("nk,jk->nj", _features(limited), _COLUMNS[name]),
        _targets(labels, weight),
        np.where(labels == 1, 1.0, weight),
        slopes=_SLOPES[name],
    )
    low, high, intercept = (_rounded(each) for each in parameters @ _COLUMNS[name])
    return Map(name, low, high, intercept)


def _rounded(parameter: float) -> float:
    """Rounds to ten digits: the last ones depend on the order in which a processor adds."""
    return float(f"{parameter:.9e}")


def _features(population: Array) -> Array:
    """Returns log(s), -log(1 - s) and 1 for s = sigmoid(x): (n, 3)."""
    columns = -np.logaddexp(0, -population), np.logaddexp(0, population)
    return np.stack([*columns, np.ones_like(population)], axis=1)


def _targets(labels: NDArray[np.int64], weight: float) -> Array:
    positives = float(labels.sum())
    negatives = weight * (len(labels) - positives)
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _minimum(features: Array, targets: Array, weights: Array, *, slopes: int) -> Array:
    """Returns the parameters with the lowest weighted cross-entropy.

    Args:
      features: (n, k).
      targets: (n,), 0 to 1.
      weights: (n,).
      slopes: number of leading parameters that are at least `LEAST_SLOPE`.
    """
    shares = weights / weights.sum()

    def objective(parameters: Array) -> tuple[float, Array]:
        logits = np.einsum("nk,k->n", features, parameters)
        errors = shares * (special.expit(logits) - targets)
        losses = np.logaddexp(0, logits) - targets * logits
        return float(np.sum(shares * losses)), np.einsum("nk,n->k", features, errors)

    count = features.shape[1]
    found = optimize.minimize(
        objective,
        np.where(np.arange(count) < slopes, 1.0, 0.0),
        jac=True,
        # SciPy's L-BFGS-B takes 30 times as long when another process uses the cores.
        method="SLSQP",
        bounds=[(LEAST_SLOPE if index < slopes else None, None) for index in range(count)],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return found.x


def _isotonic(
    population: Array, labels: NDArray[np.int64], weight: float
) -> tuple[tuple[float, float], ...]:
    # Imported here, since few vals have enough positives for it.
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1).fit(
        population, labels, sample_weight=np.where(labels == 1, 1.0, weight)
    )
    return tuple(
        (float(x), float(y))
        for x, y in zip(fitted.X_thresholds_, fitted.y_thresholds_, strict=True)
    )
