from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import metrics as sklearn_metrics

from components.evaluator.probability_quality import METRICS, reliability

PREVALENCE = 1 / 11


def _split(positives: int, negatives: int, *, factor: float = 1.0, seed: int = 0):
    """Labels and probabilities whose log odds are the true ones at `PREVALENCE` times `factor`."""
    labels = np.repeat([1, 0], [positives, negatives])
    z = np.random.default_rng(seed).normal(2.0 * labels - 1)
    return labels, expit(factor * (2 * z + logit(PREVALENCE))).astype(np.float32)


def _at_prevalence(labels, probabilities, prevalence=PREVALENCE):
    return reliability(labels, probabilities, prevalence, seed=0)


def test_brier_score_and_log_loss_equal_scikit_learns_with_weights_of_the_prevalence():
    labels, probabilities = _split(50, 200)
    # With 40 negatives per 10 positives, each negative represents 2.5.
    weights = np.where(labels == 1, 1.0, 2.5)
    found, values = _at_prevalence(labels, probabilities), probabilities.astype(float)
    brier = sklearn_metrics.brier_score_loss(labels, values, sample_weight=weights)
    loss = sklearn_metrics.log_loss(labels, values, sample_weight=weights)
    assert found["brier"] == pytest.approx(brier, abs=1e-12)
    assert found["log_loss"] == pytest.approx(loss, abs=1e-12)


def test_probabilities_of_0_and_1_have_a_finite_log_loss():
    found = _at_prevalence([1, 1, 0, 0], [0.0, 1.0, 0.0, 1.0], 0.5)
    assert found["log_loss"] == pytest.approx(-np.log(1e-7) / 2, rel=1e-6)
    assert found["brier"] == 0.5


@pytest.mark.parametrize("prevalence", [0.01, PREVALENCE, 0.5])
def test_the_error_of_a_constant_probability_is_its_distance_from_the_prevalence(prevalence):
    labels = np.repeat([1, 0], [30, 70])
    found = _at_prevalence(labels, np.full(100, 0.3), prevalence)
    assert found["ece"] == pytest.approx(abs(0.3 - prevalence))
    (only,) = found["bins"]
    assert only["observed"] == pytest.approx(prevalence)
    assert (only["low"], only["high"], only["weight"]) == (0.3, 0.3, pytest.approx(1))


def test_the_error_is_that_of_the_shown_bins():
    found = _at_prevalence(*_split(200, 500))
    rows = found["bins"]
    gaps = [row["weight"] * abs(row["predicted"] - row["observed"]) for row in rows]
    assert len(rows) == 15
    assert found["ece"] == pytest.approx(sum(gaps))
    assert sum(row["images"] for row in rows) == 700
    assert sum(row["positives"] for row in rows) == 200
    assert max(abs(row["weight"] - 1 / 15) for row in rows) < 0.005
    for row, following in pairwise(rows):
        assert row["low"] <= row["predicted"] <= row["high"] < following["low"]
        assert row["interval"][0] <= row["observed"] <= row["interval"][1]


@pytest.mark.parametrize("positives", [10, 50, 200])
def test_the_stated_bias_is_the_mean_error_of_a_calibrated_model(positives):
    found = [_at_prevalence(*_split(positives, 10 * positives, seed=seed)) for seed in range(30)]
    errors = [each["ece"] for each in found]
    stated = np.mean([each["ece_of_calibrated"] for each in found])
    assert stated == pytest.approx(np.mean(errors), rel=0.2)
    assert all(each["intervals"]["ece"][0] < 0.005 for each in found)


def test_the_intervals_contain_the_values_of_the_population():
    labels, probabilities = _split(50_000, 500_000, factor=2)
    truth = _at_prevalence(labels, probabilities)
    found = [_at_prevalence(*_split(40, 400, factor=2, seed=1 + seed)) for seed in range(50)]
    for name in METRICS:
        bounds = [each["intervals"][name] for each in found]
        covered = np.mean([low <= truth[name] <= high for low, high in bounds])
        assert covered >= 0.9, name


def test_the_figures_do_not_depend_on_the_order_of_the_images():
    labels, probabilities = _split(40, 400)
    probabilities = probabilities.round(2)  # with many equal ones
    order = np.random.default_rng(3).permutation(len(labels))
    found = _at_prevalence(labels[order], probabilities[order])
    expected = _at_prevalence(labels, probabilities)
    assert [row["images"] for row in found["bins"]] == [row["images"] for row in expected["bins"]]
    assert found["ece"] == pytest.approx(expected["ece"], abs=1e-12)


def test_one_image_of_a_side_gives_no_interval_of_the_means():
    found = _at_prevalence([1, 0, 0], [0.9, 0.1, 0.2])
    assert found["intervals"]["brier"] is found["intervals"]["log_loss"] is None
    assert found["intervals"]["ece"] is not None


@pytest.mark.parametrize("prevalence", [0.0, 1.0, 1.5])
def test_a_prevalence_out_of_range_is_refused(prevalence):
    with pytest.raises(ValueError, match=r"prevalence, the share .* must be above 0 and below 1"):
        _at_prevalence([0, 1], [0.1, 0.9], prevalence)
