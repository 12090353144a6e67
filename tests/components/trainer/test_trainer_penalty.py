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


def _choose(data, groups=None):
    return choose(LinearProblem(*data, loss=CrossEntropy()), groups)


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


def test_the_held_out_logits_are_those_of_the_chosen_penalty(data):
    _, labels, weights = data
    found = _choose(data)
    losses = np.logaddexp(0, np.where(labels == 1, -1, 1) * found.held_out)
    lowest = min(score.loss for score in found.scores)
    assert weights @ losses / weights.sum() == pytest.approx(lowest, abs=1e-6)


def test_the_unit_of_the_features_does_not_change_the_choice(data):
    values, labels, weights = data
    found, scaled = _choose(data), _choose((100 * values, labels, weights))
    assert scaled.penalty == pytest.approx(found.penalty / 100**2, rel=0.06)
    np.testing.assert_allclose(scaled.held_out, found.held_out, atol=0.05)


def test_images_of_a_group_share_a_fold():
    """Each image twice: only a head that has seen its twin can tell the side of pure noise."""
    rng = np.random.default_rng(1)
    labels = np.repeat((np.arange(60) % 3 == 0).astype(np.int64), 2)
    values = np.repeat(rng.normal(size=(60, 200)), 2, axis=0)
    data = values, labels, np.ones(120)
    right = {}
    for name, groups in {"alone": None, "grouped": np.repeat(np.arange(60), 2)}.items():
        held_out = _choose(data, groups).held_out
        pairs = np.subtract.outer(held_out[labels == 1], held_out[labels == 0])
        right[name] = (pairs > 0).mean()
    assert right["alone"] > 0.9
    assert right["grouped"] < 0.7


def test_a_side_that_can_not_be_divided_has_no_choice(data):
    values, labels, weights = data
    one = np.flatnonzero(labels == 0)
    rows = np.append(one, np.flatnonzero(labels == 1)[0])
    assert _choose((values[rows], labels[rows], weights[rows])) is None
    # Two positive images of one group.
    rows = np.append(one, np.flatnonzero(labels == 1)[:2])
    groups = np.append(np.arange(len(one)), [len(one)] * 2)
    assert _choose((values[rows], labels[rows], weights[rows]), groups) is None
