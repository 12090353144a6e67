import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from components.trainer import solver
from components.trainer.losses import CrossEntropy, Focal, Loss, MarginLoss, Smoothed
from components.trainer.solver import APPROXIMATE, LinearProblem

IMAGES, FEATURES = 60, 90


@pytest.fixture(scope="module")
def data():
    """More features than images, which can be separated, far from zero, with unequal weights."""
    rng = np.random.default_rng(0)
    labels = (np.arange(IMAGES) % 5 == 0).astype(np.int64)
    values = 3 + rng.normal(size=(IMAGES, FEATURES)) + 0.4 * labels[:, None]
    return values, labels, np.where(labels == 1, 4.0, 1.0) * rng.uniform(0.5, 2, IMAGES)


def _problem(data, loss: Loss | None = None) -> LinearProblem:
    return LinearProblem(*data, loss=loss or CrossEntropy())


@pytest.mark.parametrize("penalty", [0.001, 0.1, 10.0])
def test_the_head_is_that_of_scikit_learn(data, penalty):
    values, labels, weights = data
    expected = LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000)
    expected.fit(values, labels, sample_weight=weights)
    problem = _problem(data)
    found = problem.solve(penalty)
    kernel, bias = problem.head(found)
    assert found.converged
    np.testing.assert_allclose(kernel[:, 0], expected.coef_[0], atol=1e-4)
    assert bias[0] == pytest.approx(expected.intercept_[0], abs=1e-3)
    np.testing.assert_allclose(
        expit(values @ kernel + bias)[:, 0], expected.predict_proba(values)[:, 1], atol=1e-5
    )


@pytest.mark.parametrize(
    "loss", [CrossEntropy(-1.5), Focal(), MarginLoss(0.5, 0.2), Smoothed(CrossEntropy(), 0.1)]
)
def test_no_nearby_head_has_a_lower_loss(data, loss):
    values, labels, weights = data
    problem, rng = _problem(data, loss), np.random.default_rng(1)
    kernel, bias = (part.astype(np.float64) for part in problem.head(problem.solve(0.1)))

    def total(kernel, bias) -> float:
        losses, _ = loss.value_and_derivative(labels.astype(float), (values @ kernel + bias)[:, 0])
        return weights @ losses + np.square(kernel).sum() / (2 * 0.1)

    least = total(kernel, bias)
    for _ in range(20):
        step = 1e-2 * rng.normal(size=kernel.shape)
        assert total(kernel + step, bias + 1e-2 * rng.normal()) > least


def test_heads_that_are_fitted_together_are_those_fitted_alone(data):
    among = np.stack([np.arange(IMAGES) % 3 != part for part in range(3)])
    problem = _problem(data)
    together = problem.logits(problem.solve(0.1, among=among))
    for index, each in enumerate(among):
        alone = problem.logits(problem.solve(0.1, among=each[None]))[0]
        np.testing.assert_allclose(together[index], alone, atol=1e-5)
        left = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000)
        left.fit(data[0][each], data[1][each], sample_weight=data[2][each])
        np.testing.assert_allclose(alone, left.decision_function(data[0]), atol=1e-3)


def test_a_start_changes_the_steps_and_not_the_head(data):
    problem = _problem(data)
    near = problem.solve(0.1)
    again = problem.solve(0.1, start=near, tolerance=1e-4)
    assert again.iterations < near.iterations
    np.testing.assert_allclose(problem.logits(again), problem.logits(near), atol=1e-3)


def test_an_approximate_head_is_near_the_exact_one(data):
    problem = _problem(data)
    near = problem.logits(problem.solve(0.1, tolerance=APPROXIMATE))
    np.testing.assert_allclose(near, problem.logits(problem.solve(0.1)), atol=0.1)


def test_the_number_of_threads_does_not_change_the_head(data):
    heads = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            problem = _problem(data)
            heads.append(problem.head(problem.solve(0.1))[0])
    np.testing.assert_array_equal(*heads)


def test_a_head_that_did_not_converge_says_so(data, monkeypatch):
    monkeypatch.setattr(solver, "MAX_ITERATIONS", 2)
    found = _problem(data).solve(10.0)
    assert not found.converged
    assert found.iterations == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(data, value):
    values = data[0].copy()
    values[3, 5] = value
    with pytest.raises(ValueError, match="finite numbers"):
        LinearProblem(values, *data[1:], loss=CrossEntropy())


def test_each_view_of_an_image_is_a_row_with_its_share_of_the_weight(data):
    values, labels, weights = data
    views = np.stack([values, values + np.random.default_rng(2).normal(size=values.shape)], axis=1)
    expected = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000)
    rows = views.reshape(2 * IMAGES, FEATURES)
    expected.fit(rows, np.repeat(labels, 2), sample_weight=np.repeat(weights / 2, 2))
    problem = _problem((views, labels, weights))
    found = problem.solve(0.1)
    kernel, bias = problem.head(found)
    np.testing.assert_allclose(kernel[:, 0], expected.coef_[0], atol=1e-4)
    # The logit of the mean of the views.
    logits = (views.mean(axis=1) @ kernel + bias)[:, 0]
    np.testing.assert_allclose(problem.logits(found)[0], logits, atol=1e-4)
    average = _problem((views.mean(axis=1), labels, weights))
    assert np.abs(kernel - average.head(average.solve(0.1))[0]).max() > 1e-2
