"""Converts scores to log odds at the population's prevalence, by a closed form.

A network that minimises the cross-entropy estimates the probability that an image is positive in
the epoch that it was trained on, where undersampling, oversampling and class weights changed the
odds of the two sides. They did not change the images of a side, so the posterior odds differ from
the population's by the factor between the prior odds. The focal loss is not minimised by a
probability, but its minimiser determines the probability.

Sources: M. Saerens, P. Latinne, C. Decaestecker, Adjusting the Outputs of a Classifier to New a
Priori Probabilities: A Simple Procedure, Neural Computation 14 (2002), eq. 2.4; A. Dal Pozzolo,
O. Caelen, R. Johnson, G. Bontempi, Calibrating Probability with Undersampling for Unbalanced
Classification, SSCI 2015; C. Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001, for
weights in the loss; N. Charoenphakdee, J. Vongkulbhisal, N. Chairatanakul, M. Sugiyama, On Focal
Loss for Class-Posterior Probability Estimation, CVPR 2021, theorem 11.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.training_balance import TrainingBalance

# The smallest normal float32, since TensorFlow takes smaller ones for 0, and halfway between 1 and
# the float32 below it: the log odds of 0 and 1 are finite and the outermost.
LOWEST = float(np.finfo(np.float32).tiny)
HIGHEST = 1 - 2.0**-25
# The logarithms of equal odds may differ in their last digits.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PriorShift:
    """What is known of the difference between a score and the population's log odds.

    Attributes:
      focal_gamma: gamma of the focal loss; 0 for cross-entropy.
      shift: what is added to the log odds in the epoch.
    """

    focal_gamma: float
    shift: float

    @classmethod
    def of(cls, balance: TrainingBalance | None, prevalence: float) -> "PriorShift":
        """Returns the difference that a training causes; none if its balance is unknown.

        Args:
          balance: the balance of an epoch.
          prevalence: the population's share of positives, above 0 and below 1.
        """
        if balance is None:
            return cls(0.0, 0.0)
        population = math.log(prevalence) - math.log1p(-prevalence)
        shift = population - math.log(balance.odds)
        return cls(balance.focal_gamma, 0.0 if abs(shift) < _ROUNDING else shift)

    def log_odds(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Returns the log odds at the population's prevalence.

        Args:
          scores: (n,), 0 to 1, as the network returns them.
        """
        return focal_log_odds(log_odds(scores), self.focal_gamma) + self.shift


def log_odds(scores: ArrayLike) -> NDArray[np.float64]:
    """Returns the log odds of float32 scores (n,) from 0 to 1, which are finite for 0 and 1."""
    clipped = np.clip(np.asarray(scores, np.float64), LOWEST, HIGHEST)
    return np.log(clipped) - np.log1p(-clipped)


def focal_log_odds(network: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Returns the log odds for which the focal loss is minimised by the network's.

    Args:
      network: float64 (n,), log odds of the network's output.
      gamma: at least 0; with 0, the result is `network`.
    """
    if not gamma:
        return network
    return _half(network, gamma) - _half(-network, gamma)


def _half(network: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Returns the log of the derivative of a negative image's loss, up to a common factor."""
    softplus = np.logaddexp(0, network)
    return (1 - gamma) * np.logaddexp(0, -network) + np.log(np.exp(network) + gamma * softplus)
