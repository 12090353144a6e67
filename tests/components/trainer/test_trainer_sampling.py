import numpy as np
import pytest
import tensorflow as tf

from components.trainer.sampling import (
    epoch_indices,
    epoch_order,
    epoch_size,
    loss_weights,
    training_balance,
)
from components.trainer.settings import ClassWeight, Mixture, TrainerSettings
from components.training_balance import TrainingBalance

LABELS = np.array([0] * 30 + [1] * 4)


@pytest.fixture(autouse=True)
def _global_seed():
    tf.random.set_seed(0)


def _epoch(strategy: str, *, labels=LABELS, random_state: int = 42, epoch: int = 0) -> np.ndarray:
    dataset = epoch_indices(labels, strategy=strategy, random_state=random_state, epoch=epoch)
    assert dataset.cardinality() == epoch_size(labels, strategy)
    return np.array(list(dataset.as_numpy_iterator()))


def test_representative_takes_every_image_once():
    assert sorted(_epoch("representative")) == list(range(34))


def test_balanced_takes_the_size_of_the_smaller_side_from_each_side():
    epoch = _epoch("balanced")
    assert len(set(epoch)) == len(epoch) == 8
    assert LABELS[epoch].sum() == 4


def test_the_choice_of_balanced_depends_on_the_seed_and_not_on_the_epoch():
    chosen = set(_epoch("balanced"))
    assert set(_epoch("balanced", epoch=5)) == chosen
    assert set(_epoch("balanced", random_state=43)) != chosen


def test_oversample_takes_the_larger_side_once_and_repeats_the_smaller_evenly():
    epoch = _epoch("oversample")
    counts = np.bincount(epoch, minlength=34)
    assert (counts[:30] == 1).all()
    # 30 draws from 4 images.
    assert sorted(counts[30:]) == [7, 7, 8, 8]


@pytest.mark.parametrize("strategy", ["balanced", "oversample"])
def test_the_positive_side_may_be_the_larger(strategy):
    epoch = _epoch(strategy, labels=1 - LABELS)
    assert (1 - LABELS)[epoch].mean() == 0.5


@pytest.mark.parametrize("strategy", ["representative", "balanced", "oversample"])
def test_an_epoch_depends_only_on_seed_and_number(strategy):
    first = _epoch(strategy, epoch=3)
    np.testing.assert_array_equal(_epoch(strategy, epoch=3), first)
    assert list(_epoch(strategy, epoch=4)) != list(first)
    assert list(_epoch(strategy, epoch=3, random_state=1)) != list(first)


@pytest.mark.parametrize("strategy", ["representative", "balanced", "oversample"])
def test_the_sides_are_interleaved_evenly(strategy):
    labels = np.array([0] * 3000 + [1] * 300)
    parts = np.array_split(labels[_epoch(strategy, labels=labels)], 10)
    shares = np.array([part.mean() for part in parts])
    expected = 1 / 11 if strategy == "representative" else 0.5
    assert np.abs(shares - expected).max() < 0.15


def test_without_class_weight_all_weights_are_equal():
    assert loss_weights(LABELS, strategy="representative", class_weight=None) is None


def test_balanced_weights_equal_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=LABELS)
    weights = loss_weights(LABELS, strategy="representative", class_weight="balanced")
    assert weights == pytest.approx(dict(enumerate(expected)))


@pytest.mark.parametrize("strategy", ["balanced", "oversample"])
def test_balanced_weights_are_1_if_the_strategy_balances_the_sides(strategy):
    weights = loss_weights(LABELS, strategy=strategy, class_weight="balanced")
    assert weights == {0: 1.0, 1: 1.0}


def test_explicit_weights_do_not_depend_on_the_strategy():
    weights = ClassWeight(positive=3.0, negative=0.5)
    assert loss_weights(LABELS, strategy="oversample", class_weight=weights) == {0: 0.5, 1: 3.0}


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="Received: 'other'"):
        epoch_size(LABELS, "other")


@pytest.mark.parametrize(
    ("mixture", "sizes"),
    [
        (Mixture(undersample=0.5), (8, 4)),
        (Mixture(undersample=0.2, oversample=0.5), (20, 10)),
        (Mixture(oversample=1.0), (30, 30)),
        (Mixture(undersample=0.1), (30, 4)),
        (Mixture(undersample=None, oversample=0.1), (30, 4)),
    ],
)
def test_a_mixture_first_undersamples_the_larger_side_then_repeats_the_smaller(mixture, sizes):
    epoch = _epoch(mixture)
    assert (np.sum(LABELS[epoch] == 0), np.sum(LABELS[epoch] == 1)) == sizes
    flipped = (1 - LABELS)[_epoch(mixture, labels=1 - LABELS)]
    assert (np.sum(flipped == 1), np.sum(flipped == 0)) == sizes


def _order(strategy, *, labels=LABELS, random_state: int = 42, epoch: int = 0) -> np.ndarray:
    return epoch_order(labels, strategy=strategy, random_state=random_state, epoch=epoch)


MIXTURE = Mixture(undersample=0.2, oversample=0.5)
STRATEGIES = ["representative", "undersample", "oversample", MIXTURE]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_an_order_has_exactly_the_images_of_the_epoch(strategy):
    for epoch in (0, 1):
        assert sorted(_order(strategy, epoch=epoch)) == sorted(_epoch(strategy, epoch=epoch))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_an_order_depends_only_on_seed_and_number(strategy):
    first = _order(strategy, epoch=3)
    np.testing.assert_array_equal(_order(strategy, epoch=3), first)
    assert list(_order(strategy, epoch=4)) != list(first)
    assert list(_order(strategy, epoch=3, random_state=1)) != list(first)


@pytest.mark.parametrize("strategy", ["representative", "oversample"])
def test_an_order_interleaves_the_sides_evenly(strategy):
    labels = np.array([0] * 3000 + [1] * 300)
    parts = np.array_split(labels[_order(strategy, labels=labels)], 10)
    expected = 1 / 11 if strategy == "representative" else 0.5
    assert np.abs(np.array([part.mean() for part in parts]) - expected).max() < 0.15


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"positive_images": 4, "negative_images": 30}),
        ({"sampling_strategy": "balanced"}, {"positive_images": 4, "negative_images": 4}),
        ({"sampling_strategy": "oversample"}, {"positive_images": 30, "negative_images": 30}),
        (
            {"sampling_strategy": {"undersample": 0.2, "oversample": 0.5}, "loss": "focal"},
            {"positive_images": 10, "negative_images": 20, "focal_gamma": 2.0},
        ),
        (
            {"class_weight": {"positive": 10.0}},
            {"positive_images": 4, "negative_images": 30, "positive_weight": 10.0},
        ),
    ],
)
def test_the_balance_is_that_of_the_images_and_weights_of_an_epoch(changes, expected):
    settings = TrainerSettings.model_validate(changes)
    assert training_balance(LABELS, settings) == TrainingBalance(**expected)


def test_balanced_class_weights_give_even_odds():
    settings = TrainerSettings.model_validate({"class_weight": "balanced"})
    assert training_balance(LABELS, settings).odds == pytest.approx(1)
