import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from components.trainer.losses import CrossEntropy
from components.trainer.penalty import FOLDS, choose
from components.trainer.solver import LinearProblem

IMAGES, FEATURES = 120, 30


@pytest.fixture(scope="module")
def data():
    """Images of which no head separates the sides."""
    rng = np.random.default_rng(0)
    labels = (np.arange(IMAGES) % 4 == 0).astype(np.int64)
    values = rng.normal(size=(IMAGES, FEATURES)) + 0.3 * labels[:, None]
    return values, labels, np.where(labels == 1, 3.0, 1.0)


def _choose(data):
    return choose(LinearProblem(*data, loss=CrossEntropy()))


def _expected_loss(data, penalty: float) -> float:
    values, labels, weights = data
    total = 0.0
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(values, labels)
    for fitted, held in folds:
        head = LogisticRegression(C=penalty, tol=1e-8, max_iter=5000)
        head.fit(values[fitted], labels[fitted], sample_weight=weights[fitted])
        right = head.predict_proba(values[held])[np.arange(len(held)), labels[held]]
        total += weights[held] @ -np.log(right)
    return total / weights.sum()


def test_the_scores_are_those_of_scikit_learn_and_the_lowest_is_chosen(data):
    found = _choose(data)
    for score in found.scores:
        assert score.loss == pytest.approx(_expected_loss(data, score.penalty), abs=1e-3)
    assert found.penalty == min(found.scores, key=lambda score: score.loss).penalty
    # Neither end of the range.
    assert found.scores[0].penalty < found.penalty < found.scores[-1].penalty


def test_the_unit_of_the_features_does_not_change_the_choice(data):
    values, labels, weights = data
    found, scaled = _choose(data), _choose((100 * values, labels, weights))
    assert scaled.penalty == pytest.approx(found.penalty / 100**2, rel=0.06)
    losses = [[score.loss for score in each.scores] for each in (scaled, found)]
    np.testing.assert_allclose(*losses, atol=0.01)


def test_a_side_that_can_not_be_divided_has_no_choice(data):
    values, labels, weights = data
    one = np.flatnonzero(labels == 0)
    rows = np.append(one, np.flatnonzero(labels == 1)[0])
    assert _choose((values[rows], labels[rows], weights[rows])) is None


def test_all_views_of_an_image_are_in_one_fold(data):
    """Of an image in a fold to fit on and in the one held out, the loss would be far lower."""
    values, labels, weights = data
    alone, twice = _choose(data), _choose((np.stack([values, values], axis=1), labels, weights))
    losses = [[score.loss for score in each.scores] for each in (alone, twice)]
    np.testing.assert_allclose(*losses, atol=1e-3)
