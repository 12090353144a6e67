import numpy as np
import pytest
import tensorflow as tf

from components.calibrator import graph, maps
from components.calibrator.calibration import Calibration
from components.calibrator.maps import Map
from components.calibrator.prior_shift import PriorShift

SHIFTS = [PriorShift(0.0, 0.0), PriorShift(0.0, -2.3), PriorShift(2.0, 1.5)]
MAPS = [
    Map("none"),
    Map("temperature", 0.4, 0.4),
    Map("platt", 2.5, 2.5, -1.0),
    Map("beta", 0.01, 3.0, 0.7),
    Map("isotonic", 1.0, 1.0, 0.0, ((-3.0, 0.0), (-1.0, 0.1), (-0.5, 0.1), (2.0, 1.0))),
]


def _calibration(shift: PriorShift, found: Map) -> Calibration:
    return Calibration("auto", shift, found, 0.1, 50, 500, (), ())


def _scores() -> np.ndarray:
    """Scores of the whole range, densely near 0 and 1, with the ends and their neighbours."""
    middle = np.linspace(0, 1, 1001, dtype=np.float32)
    near_0 = np.logspace(-44, -1, 200).astype(np.float32)
    near_1 = 1 - np.logspace(-8, -1, 200).astype(np.float32)
    return np.concatenate([middle, near_0, near_1])


@pytest.mark.parametrize("shift", SHIFTS, ids=["no shift", "shift", "focal"])
@pytest.mark.parametrize("found", MAPS, ids=[each.name for each in MAPS])
def test_the_exported_function_equals_the_one_that_was_fitted(shift, found):
    calibration, scores = _calibration(shift, found), _scores()
    served = tf.function(lambda score: graph.probability(score, calibration))
    values = served(tf.constant(scores[:, None]))
    assert values.dtype == tf.float32
    assert values.shape == (len(scores), 1)
    expected = calibration.probabilities(scores)
    np.testing.assert_allclose(values[:, 0], expected, atol=1e-7, rtol=1e-5)
    assert np.isfinite(values).all()


def test_a_fitted_isotonic_map_is_exported():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [500, 500])
    x = rng.normal(2.0 * labels - 1)
    calibration = _calibration(PriorShift(0.0, 0.0), maps.fit("isotonic", x, labels, 1.0))
    scores = _scores()
    served = graph.probability(tf.constant(scores), calibration)
    np.testing.assert_allclose(served, calibration.probabilities(scores), atol=1e-6)
