import math

import numpy as np
import pytest
from scipy import optimize

from components.calibrator.prior_shift import PriorShift, focal_log_odds, log_odds
from components.training_balance import TrainingBalance

POPULATION = 1 / 11


def _balance(**changes) -> TrainingBalance:
    return TrainingBalance(**{"positive_images": 100, "negative_images": 1000, **changes})


@pytest.mark.parametrize(
    "balance",
    [
        _balance(),
        _balance(negative_images=100),
        _balance(positive_images=1000),
        _balance(positive_weight=10.0),
        _balance(positive_weight=5.5, negative_weight=0.55),
        _balance(positive_images=200, negative_images=400, positive_weight=3.0),
    ],
)
def test_the_shift_is_exact_on_known_posteriors(balance):
    # Positives and negatives at z have densities that differ by a factor exp(2 z).
    z = np.linspace(-3, 3, 13)
    likelihood_ratio = np.exp(2 * z)
    trained = likelihood_ratio * balance.odds
    odds = likelihood_ratio * POPULATION / (1 - POPULATION)
    scores = trained / (1 + trained)
    found = PriorShift.of(balance, POPULATION).log_odds(scores)
    np.testing.assert_allclose(found, np.log(odds), atol=1e-9)


def test_training_at_the_populations_balance_shifts_nothing():
    assert PriorShift.of(_balance(), POPULATION).shift == 0


def test_an_unknown_balance_shifts_nothing():
    assert PriorShift.of(None, POPULATION) == PriorShift(0.0, 0.0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("posterior", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_the_focal_loss_is_minimised_by_a_score_whose_log_odds_are_the_posteriors(gamma, posterior):
    def risk(network: float) -> float:
        score = 1 / (1 + math.exp(-network))
        of_positive = -((1 - score) ** gamma) * math.log(score)
        of_negative = -(score**gamma) * math.log1p(-score)
        return posterior * of_positive + (1 - posterior) * of_negative

    minimiser = optimize.minimize_scalar(risk, bounds=(-12, 12), options={"xatol": 1e-12}).x
    found = focal_log_odds(np.array([minimiser]), gamma)[0]
    assert found == pytest.approx(math.log(posterior / (1 - posterior)), abs=1e-4)


def test_the_inverse_of_the_focal_loss_is_the_closed_form_of_charoenphakdee():
    score = np.linspace(0.01, 0.99, 99)

    def half(v: np.ndarray) -> np.ndarray:
        return v / ((1 - v) ** 2 - 2 * (1 - v) * v * np.log(v))

    posterior = half(score) / (half(score) + half(1 - score))
    expected = np.log(posterior / (1 - posterior))
    np.testing.assert_allclose(focal_log_odds(log_odds(score), 2.0), expected, atol=1e-9)


def test_log_odds_of_the_focal_loss_are_finite_and_increase_for_all_scores():
    network = np.linspace(-90, 20, 2001)
    assert (np.diff(focal_log_odds(network, 2.0)) > 0).all()


def test_scores_of_exactly_0_and_1_have_the_outermost_finite_log_odds():
    below_one = np.nextafter(np.float32(1), np.float32(0))
    scores = np.array([0, 2 * np.finfo(np.float32).tiny, 0.5, below_one, 1], np.float32)
    found = log_odds(scores)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found[2] == 0
