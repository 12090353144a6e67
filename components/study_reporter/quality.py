"""How wrong the probabilities of a replicate are, and what that costs.

All are at the population's prevalence, to which the negatives are weighted:

- `slope`: the factor of the log odds in a logistic regression of the labels on them. Below 1 the
  probabilities are too far from the mean, above 1 too near to it. Undefined if the log odds of the
  two sides don't overlap, since no factor is then large enough.
- `intercept`: what must be added to the log odds so that the mean probability is the prevalence.
  Below 0 the probabilities are too high.
- `expected_cost`: the cost of the wrong decisions, per 1,000 images, if an image is called positive
  from the probability on at which that is the cheaper decision, which is the cost of a false alarm
  divided by the sum of both costs.

Sources: D. Cox, Two Further Applications of a Model for Binary Regression, Biometrika 45 (1958);
B. Van Calster et al., Calibration: the Achilles Heel of Predictive Analytics, BMC Medicine 17
(2019), for slope and intercept; C. Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001,
eq. 2, for the threshold.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from components.calibrator import prior_shift
from components.evaluator import metrics
from components.evaluator.metrics import Costs
from components.study_reporter import scores
from components.study_reporter.record import SplitScores
from components.study_reporter.scores import Values

SLOPE, INTERCEPT, EXPECTED_COST = "slope", "intercept", "expected_cost"
METRICS = (SLOPE, INTERCEPT, EXPECTED_COST)

EQUAL_COSTS = Costs(missed=1, false_alarm=1)
"""With them, the expected cost is the number of wrong decisions per 1,000 images."""

# Log odds of about 1e-7, as in the Calibrator's maps: one image beyond would determine the slope.
_LIMIT = 16.0
_TOLERANCE = 1e-9

Array = NDArray[np.float64]


def figures(found: SplitScores, prevalence: float, costs: Costs) -> Values:
    """Returns `METRICS` of each replicate.

    Args:
      found: probabilities of the replicates; those of images that one did not predict are NaN.
      prevalence: share of positives, above 0 and below 1.
      costs: costs of the wrong decisions.
    """
    rows = []
    for probabilities in found.probabilities:
        predicted = np.isfinite(probabilities)
        rows.append(_figures(found.labels[predicted], probabilities[predicted], prevalence, costs))
    return {name: np.array([row[name] for row in rows]) for name in METRICS}


def _figures(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], prevalence: float, costs: Costs
) -> dict[str, float]:
    log_odds = np.clip(prior_shift.log_odds(probabilities), -_LIMIT, _LIMIT)
    positives = int(labels.sum())
    weight = metrics.negative_weight(positives, labels.size - positives, prevalence)
    weights = np.where(labels == 1, 1.0, weight)
    return {
        SLOPE: slope(labels, log_odds, weights),
        INTERCEPT: intercept(labels, log_odds, weights),
        EXPECTED_COST: expected_cost(labels, probabilities, prevalence, costs),
    }


def slope(labels: NDArray[np.int64], log_odds: Array, weights: Array) -> float:
    """Returns the slope of the logistic regression; NaN if it has no finite one.

    Args:
      labels: int (n,), 1 for positive; both sides occur.
      log_odds: float64 (n,), finite.
      weights: float64 (n,), above 0.
    """
    # Imported here, since it imports scipy.stats.
    from sklearn.linear_model import LogisticRegression

    of_positives, of_negatives = log_odds[labels == 1], log_odds[labels == 0]
    if (
        of_positives.min() >= of_negatives.max()
        or of_negatives.min() >= of_positives.max()
        or np.ptp(log_odds) == 0
    ):
        return math.nan
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=_TOLERANCE).fit(
        log_odds[:, None], labels, sample_weight=weights / weights.mean()
    )
    return float(fitted.coef_[0, 0])


def intercept(labels: NDArray[np.int64], log_odds: Array, weights: Array) -> float:
    """Returns what makes the mean probability the share of positives; arguments as for `slope`."""
    shares = weights / weights.sum()
    observed = float(shares @ labels)

    def excess(shift: float) -> float:
        return float(shares @ special.expit(log_odds + shift)) - observed

    center = special.logit(observed)
    # With these, all probabilities are below and above the share.
    low, high = center - log_odds.max() - 1, center - log_odds.min() + 1
    return float(optimize.brentq(excess, low, high, xtol=_TOLERANCE))


def expected_cost(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    prevalence: float,
    costs: Costs,
) -> float:
    """Returns the cost per 1,000 images of calling positive what costs less as a positive.

    Args:
      labels: int (n,), 1 for positive; both sides occur.
      probabilities: float32 (n,).
      prevalence: share of positives, above 0 and below 1.
      costs: costs of the wrong decisions.
    """
    threshold = costs.false_alarm / (costs.false_alarm + costs.missed)
    counts = metrics.confusion(labels, metrics.is_positive(probabilities, threshold))
    found = metrics.per_thousand(counts.recall, counts.false_positive_rate, prevalence, costs)
    return float(found[EXPECTED_COST])


def costs_of(study: Mapping[str, Any]) -> Costs:
    """Returns the costs of a study; equal ones if it has none."""
    found = study.get("costs")
    return EQUAL_COSTS if found is None else Costs(**found)


def estimates(values: Values) -> dict[str, dict[str, Any]]:
    """Returns mean and standard deviation over replicates of each metric.

    They have no interval: slopes have a skewed distribution, and an interval of `scores.estimate`
    ends at 0, which an intercept may be below.
    """
    return {
        name: {**scores.estimate(row, upper=math.inf), "interval": None}
        for name, row in values.items()
    }
