import numpy as np
import pytest

from components.calibrator import calibration
from components.calibrator.calibration import calibrate
from components.training_balance import TrainingBalance

PREVALENCE = 1 / 11
AT_POPULATION = TrainingBalance(positive_images=100, negative_images=1000)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _val(positives: int, negatives: int, *, slope: float = 1, intercept: float = 0, seed: int = 0):
    """Scores whose log odds are `slope` times the true ones at `PREVALENCE` plus `intercept`."""
    labels = np.repeat([1, 0], [positives, negatives])
    z = np.random.default_rng(seed).normal(2.5 * labels - 1.25)
    true = 2.5 * z - np.log(10)
    return _sigmoid(slope * true + intercept).astype(np.float32), labels


def _calibrate(scores, labels, *, prevalence=PREVALENCE, balance=AT_POPULATION, **changes):
    return calibrate(scores, labels, prevalence=prevalence, balance=balance, **changes)


def test_without_map_and_shift_the_probability_is_the_score():
    scores, labels = _val(50, 500)
    found = _calibrate(scores, labels, requested="none", balance=None)
    assert found.is_identity
    np.testing.assert_array_equal(found.probabilities(scores), scores)


def test_a_model_trained_on_as_many_positives_as_negatives_is_converted_by_the_closed_form():
    scores, labels = _val(50, 500, intercept=np.log(10))
    balanced = TrainingBalance(positive_images=100, negative_images=100)
    found = _calibrate(scores, labels, requested="none", balance=balanced)
    expected = _val(50, 500)[0]
    np.testing.assert_allclose(found.probabilities(scores), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("slope", "intercept", "chosen"), [(1, 0, "none"), (3, 0, "temperature"), (1, 2, "platt")]
)
def test_the_map_that_fits_the_distortion_is_chosen(slope, intercept, chosen):
    scores, labels = _val(200, 2000, slope=slope, intercept=intercept)
    found = _calibrate(scores, labels)
    assert found.map.name == chosen
    assert [score.map for score in found.cross_validation] == [
        *("none", "temperature", "platt", "beta")
    ]


def test_isotonic_is_compared_only_with_many_positives():
    scores, labels = _val(1000, 1000)
    compared = [score.map for score in _calibrate(scores, labels).cross_validation]
    assert compared[-1] == "isotonic"


def test_probabilities_of_new_images_are_the_populations():
    scores, labels = _val(400, 400, slope=2, intercept=2)
    found = _calibrate(scores, labels)
    new_scores, _ = _val(20_000, 200_000, slope=2, intercept=2, seed=1)
    truth, new_labels = _val(20_000, 200_000, seed=1)
    probabilities = found.probabilities(new_scores)
    assert probabilities.mean() == pytest.approx(new_labels.mean(), rel=0.15)
    assert np.abs(probabilities - truth).mean() < 0.015
    assert np.abs(new_scores - truth).mean() > 0.03


def test_the_calibration_does_not_depend_on_the_order_of_the_images():
    scores, labels = _val(30, 300, slope=2)
    order = np.random.default_rng(5).permutation(len(scores))
    assert _calibrate(scores[order], labels[order]) == _calibrate(scores, labels)


def test_probabilities_increase_with_the_score():
    scores, labels = _val(50, 500, slope=2)
    distinct = np.unique(scores)
    assert (np.diff(_calibrate(scores, labels).probabilities(distinct)) > 0).all()


def test_a_requested_map_that_is_worse_than_none_is_not_used():
    scores, labels = _val(12, 120)
    found = _calibrate(scores, labels, requested="beta")
    without, beta = found.cross_validation
    assert beta.log_loss > without.log_loss
    assert found.map.name == "none"
    assert found.remarks == (
        "calibrator.calibration 'beta' is not used: by cross-validation its log loss is "
        f"{beta.log_loss:.4f}, above {without.log_loss:.4f} without a map",
    )


def test_a_requested_map_that_helps_is_used():
    scores, labels = _val(50, 500, slope=3)
    found = _calibrate(scores, labels, requested="beta")
    assert found.map.name == "beta"
    assert not found.remarks


@pytest.mark.parametrize("positives", [2, 9])
def test_few_positives_work_with_a_caveat(positives):
    scores, labels = _val(positives, 100, slope=3)
    found = _calibrate(scores, labels)
    assert len(found.cross_validation) == 4
    assert any(f"rests on {positives} positive images" in remark for remark in found.remarks)


def test_a_single_positive_gives_no_map_and_says_so():
    found = _calibrate(*_val(1, 100))
    assert found.map.name == "none"
    assert found.remarks == (
        "a calibration map requires at least two images of each side, so none is used",
    )


def test_a_model_without_a_training_balance_has_a_remark_and_a_map():
    scores, labels = _val(200, 2000, intercept=np.log(10))
    found = _calibrate(scores, labels, balance=None)
    assert found.map.name == "platt"
    assert found.map.intercept == pytest.approx(-np.log(10), abs=0.3)
    assert found.remarks == (calibration.NO_BALANCE,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"requested": "best"}, "calibrator.calibration must be one of .* Received: 'best'"),
        ({"requested": "isotonic"}, "'isotonic' requires 1,000 positive images.* Received: 50"),
        (
            {"prevalence": 0.0},
            "must be above 0 and below 1; .* Received: 0.0",
        ),
        (
            {"prevalence": 1.0},
            "must be above 0 and below 1; .* Received: 1.0",
        ),
    ],
)
def test_invalid_requests_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _calibrate(*_val(50, 500), **changes)


def test_scores_that_are_not_numbers_are_refused():
    scores, labels = _val(50, 500)
    scores[7] = np.nan
    with pytest.raises(ValueError, match=r"must be numbers from 0 to 1\. Received: nan"):
        _calibrate(scores, labels)


def test_a_val_of_one_side_is_refused():
    scores, _ = _val(50, 500)
    with pytest.raises(ValueError, match="Received: 0 positive and 550 negative images"):
        _calibrate(scores, np.zeros(550, int))
