import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from components.trainer.losses import CrossEntropy
from components.trainer.penalty import FOLDS, choose, folds
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


def _by_chance(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and units of images, of which at least one unit has several."""
    count = int(rng.integers(20, 200))
    units = rng.integers(0, rng.integers(6, count), count)
    return (rng.random(count) < rng.uniform(0.2, 0.5)).astype(np.int64), units


@pytest.mark.parametrize("seed", range(20))
def test_all_images_of_a_unit_are_in_one_fold(seed):
    labels, units = _by_chance(np.random.default_rng(seed))
    held_out = folds(labels, units)
    assert held_out
    np.testing.assert_array_equal(np.sum(held_out, axis=0), 1)
    for held in held_out:
        assert held.any()
        assert not set(units[held]) & set(units[~held])
        assert set(labels[~held]) == {0, 1}


def test_the_folds_of_units_are_as_large_and_balanced_as_the_units_allow():
    rng = np.random.default_rng(0)
    units = rng.integers(0, 300, 1000)
    labels = (rng.random(1000) < 0.1).astype(np.int64)
    for held in folds(labels, units):
        assert held.sum() == pytest.approx(1000 / FOLDS, abs=1)
        assert labels[held].sum() == pytest.approx(labels.sum() / FOLDS, abs=1)


@pytest.mark.parametrize("units", [None, np.random.default_rng(1).permutation(IMAGES)])
def test_without_units_of_several_images_the_folds_are_those_of_scikit_learn(data, units):
    labels = data[1]
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels)
    for found, (_, held) in zip(folds(labels, units), splits, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(found), held)


def test_there_are_no_more_folds_than_units_of_a_side():
    labels = np.array([1, 1, 1, 1, 1, 1, *[0] * 20])
    units = np.array([0, 0, 1, 1, 2, 2, *range(3, 23)])
    assert len(folds(labels, units)) == 3


@pytest.mark.parametrize("units", [[0, 0, 0, 0, 1, 2, 3, 4], [0, 0, 1, 1, 0, 0, 0, 0]])
def test_a_side_of_one_unit_has_no_choice(units):
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    assert folds(labels, np.array(units)) == []


def test_a_fold_that_leaves_no_image_of_a_side_to_fit_on_means_no_choice(monkeypatch):
    labels, units = np.array([1, 1, 0, 0, 0]), np.array([0, 1, 2, 3, 3])
    of_one = [
        np.array([True, True, False, False, False]),
        np.array([False, False, True, True, True]),
    ]
    monkeypatch.setattr("components.trainer.penalty._of_units", lambda *_: of_one)
    assert folds(labels, units) == []


PATIENTS, OF_EACH = 40, 6


def _patients() -> tuple[np.ndarray, ...]:
    """Images that resemble the patient's others far more than those of the patient's side."""
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(PATIENTS), OF_EACH)
    labels = (np.arange(PATIENTS) % 2)[units].astype(np.int64)
    patients = rng.normal(size=(PATIENTS, FEATURES)) + 0.15 * (np.arange(PATIENTS) % 2)[:, None]
    values = patients[units] + 0.3 * rng.normal(size=(len(units), FEATURES))
    return values, labels, units


def test_a_stronger_penalty_is_chosen_if_images_resemble_those_of_their_group():
    values, labels, units = _patients()
    problem = LinearProblem(values, labels, np.ones(len(labels)), loss=CrossEntropy())
    parted, together = choose(problem), choose(problem, units)
    assert together.penalty < parted.penalty / 10
    # Of new patients the head that is fitted by units is the better one.
    rng = np.random.default_rng(1)
    sides = np.arange(2000) % 2
    others = rng.normal(size=(2000, FEATURES)) + 0.15 * sides[:, None]
    losses = []
    for found in (parted, together):
        kernel, bias = problem.head(problem.solve(found.penalty))
        losses.append(problem.losses(sides, (others @ kernel + bias)[:, 0]).mean())
    assert losses[1] < losses[0]
