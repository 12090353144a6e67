"""A calibration as TensorFlow operations, equal to `Calibration.probabilities` up to 1e-6.

Everything is computed in float64: in float32 the log odds of a score near 1 have no digits.
"""

import numpy as np
import tensorflow as tf

from components.calibrator import maps, prior_shift
from components.calibrator.calibration import Calibration
from components.calibrator.maps import Map


def probability(score: tf.Tensor, calibration: Calibration) -> tf.Tensor:
    """Returns the probability of each score.

    Args:
      score: float32, any shape, 0 to 1.
      calibration: how scores become probabilities.

    Returns:
      float32, of the same shape.
    """
    if calibration.is_identity:
        return score
    clipped = tf.clip_by_value(tf.cast(score, tf.float64), prior_shift.LOWEST, prior_shift.HIGHEST)
    network = tf.math.log(clipped) - tf.math.log1p(-clipped)
    shift = calibration.prior_shift
    population = _focal_log_odds(network, shift.focal_gamma) + shift.shift
    return tf.cast(_mapped(population, calibration.map), tf.float32)


def _focal_log_odds(network: tf.Tensor, gamma: float) -> tf.Tensor:
    if not gamma:
        return network
    return _half(network, gamma) - _half(-network, gamma)


def _half(network: tf.Tensor, gamma: float) -> tf.Tensor:
    softplus = tf.math.softplus(network)
    return (1 - gamma) * tf.math.softplus(-network) + tf.math.log(
        tf.exp(network) + gamma * softplus
    )


def _mapped(population: tf.Tensor, found: Map) -> tf.Tensor:
    low = -found.low * tf.math.softplus(-population)
    high = found.high * tf.math.softplus(population)
    smooth = tf.sigmoid(low + high + found.intercept)
    if not found.knots:
        return smooth
    steps = _interpolated(population, np.array(found.knots))
    return (1 - maps.PLATT_SHARE) * steps + maps.PLATT_SHARE * smooth


def _interpolated(population: tf.Tensor, knots: np.ndarray) -> tf.Tensor:
    """Returns NumPy's `interp` of each value between the knots (k, 2)."""
    places, values = tf.constant(knots[:, 0]), tf.constant(knots[:, 1])
    within = tf.clip_by_value(population, places[0], places[-1])
    flat = tf.reshape(within, [-1])
    right = tf.clip_by_value(tf.searchsorted(places, flat), 1, len(knots) - 1)
    ends = tf.gather(places, right - 1), tf.gather(places, right)
    heights = tf.gather(values, right - 1), tf.gather(values, right)
    share = (flat - ends[0]) / (ends[1] - ends[0])
    return tf.reshape(heights[0] + share * (heights[1] - heights[0]), tf.shape(population))
