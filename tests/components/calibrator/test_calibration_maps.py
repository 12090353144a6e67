import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.calibrator import maps

FITTED = ("temperature", "platt", "beta", "isotonic")


def _binormal(positives: int, negatives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores with means 1 and -1: the log likelihood ratio is twice the score."""
    labels = np.repeat([1, 0], [positives, negatives])
    return np.random.default_rng(seed).normal(2.0 * labels - 1), labels


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, 1), (0.5, -1.5)])
def test_platt_finds_the_coefficients_of_binormal_scores(slope, intercept):
    z, labels = _binormal(50_000, 50_000)
    # Half of the population is positive, so the true log odds are 2 z.
    found = maps.fit("platt", (2 * z - intercept) / slope, labels, 1.0)
    assert found.low == found.high == pytest.approx(slope, rel=0.02)
    assert found.intercept == pytest.approx(intercept, abs=0.03)


def test_a_weight_of_the_negatives_moves_platts_intercept_to_the_populations_prior():
    z, labels = _binormal(50_000, 50_000)
    # With nine negatives per positive, the true log odds are 2 z - log(9).
    found = maps.fit("platt", 2 * z, labels, 9.0)
    assert found.low == pytest.approx(1, rel=0.02)
    assert found.intercept == pytest.approx(-np.log(9), abs=0.03)


def test_temperature_finds_the_factor_of_overconfident_scores():
    z, labels = _binormal(50_000, 50_000)
    found = maps.fit("temperature", 6 * z, labels, 1.0)
    assert found.low == found.high == pytest.approx(1 / 3, rel=0.02)
    assert found.intercept == 0


def test_beta_finds_the_coefficients_of_scores_it_was_distorted_by():
    z, labels = _binormal(200_000, 200_000)
    # The true log odds are 2 log(s) - 0.5 log(1 - s) + 0.3 for the scores' s, by bisection.
    x = np.linspace(-12, 12, 20_001)
    true = -2 * np.logaddexp(0, -x) + 0.5 * np.logaddexp(0, x) + 0.3
    found = maps.fit("beta", np.interp(2 * z, true, x), labels, 1.0)
    assert (found.low, found.high) == (pytest.approx(2, rel=0.03), pytest.approx(0.5, rel=0.03))
    assert found.intercept == pytest.approx(0.3, abs=0.03)


def test_platt_equals_scikit_learns_logistic_regression_on_platts_targets():
    z, labels = _binormal(40, 400)
    found = maps.fit("platt", z, labels, 2.5)
    # A target of t is a positive image of weight t and a negative image of weight 1 - t.
    weights = np.where(labels == 1, 1.0, 2.5)
    targets = np.where(labels == 1, 41 / 42, 1 / 1002)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([z, z])[:, None],
        np.repeat([1, 0], len(z)),
        sample_weight=np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    assert found.low == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_isotonic_follows_the_observed_shares():
    z, labels = _binormal(20_000, 20_000)
    found = maps.fit("isotonic", np.sign(z) * z**2, labels, 1.0)
    at = np.linspace(-1, 1, 9)
    expected = _sigmoid(2 * at)
    np.testing.assert_allclose(found.probabilities(np.sign(at) * at**2), expected, atol=0.03)


@pytest.mark.parametrize("name", maps.SIMPLEST_FIRST)
@pytest.mark.parametrize("model", ["good", "separating", "reversed"])
def test_every_map_keeps_the_order_and_stays_between_0_and_1(name, model):
    z, labels = _binormal(30, 300)
    scores = {"good": 2 * z, "separating": 30.0 * labels - 15, "reversed": -z}[model]
    population = np.linspace(-20, 20, 401)
    found = maps.fit(name, scores, labels, 1.0).log_odds(population)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("name", FITTED)
def test_the_weighted_mean_probability_is_the_prevalence(name):
    z, labels = _binormal(500, 500)
    weights = np.where(labels == 1, 1.0, 9.0)
    found = maps.fit(name, 3 * z - np.log(9), labels, 9.0)
    mean = np.average(found.probabilities(3 * z - np.log(9)), weights=weights)
    # Temperature has no intercept by which it could equal the prevalence.
    assert mean == pytest.approx(0.1, abs=0.02 if name == "temperature" else 0.002)


def test_a_single_image_with_an_extreme_score_does_not_determine_the_map():
    z, labels = _binormal(50, 500)
    extreme, limited = 2 * z, 2 * z
    extreme[0] = -87  # a positive image with a score of 1e-38
    limited[0] = -16
    assert maps.fit("platt", extreme, labels, 1.0) == maps.fit("platt", limited, labels, 1.0)
