"""Phases and checkpoints, on a network small enough to train in a blink."""

import keras
import numpy as np
import pytest
from keras import layers

from components.images import rules
from components.trainer.checkpoint import Checkpoint, TrainingState, training_identity
from components.trainer.data import Split
from components.trainer.devices import device_policy
from components.trainer.features import Rows
from components.trainer.models import Network
from components.trainer.training import Training, training_phases


def _network() -> Network:
    """A pretrained part with batch normalisation, frozen, under a new layer."""
    keras.utils.set_random_seed(0)
    top = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, "relu"), layers.BatchNormalization()], name="top"
    )
    top.trainable = False
    trained = keras.Sequential([keras.Input((3,)), top, layers.Dense(1, "sigmoid", name="new")])
    return Network(full=trained, body=None, trained=trained, top=top)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1] * 8)
    values = rng.normal(size=(32, 3)) + labels[:, None]
    return Rows(values.astype(np.float32), labels)


@pytest.fixture(scope="module")
def train(rows, make_settings):
    """Trains a fresh network with changed settings; returns it and its epochs' figures."""

    def run(folder, on_epoch=lambda epoch: None, **changes) -> tuple[Network, list]:
        network = _network()
        training = Training(
            network,
            train=rows,
            val=rows,
            settings=make_settings(**{"learning_rate": 0.01, **changes}),
            policy=device_policy(0),
            checkpoint=Checkpoint(str(folder / "checkpoint")),
            on_epoch=on_epoch,
        )
        return network, training.run()

    return run


FINE_TUNING = {
    "model": "xception",
    "image_size": 71,
    "fine_tune": True,
    "epochs": 2,
    "early_stopping": 5,
}


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A training in two phases that nothing interrupts."""
    return train(tmp_path_factory.mktemp("whole"), **FINE_TUNING)


def test_the_new_layers_are_trained_first_and_the_pretrained_ones_after(train, tmp_path):
    initial = _network().top.get_weights()
    # Without early stopping, which would put the weights of the best epoch back.
    network, epochs = train(tmp_path, **{**FINE_TUNING, "early_stopping": None})
    assert [epoch["phase"] for epoch in epochs] == ["train"] * 2 + ["fine_tune"] * 2
    kernel, _, *normalisation = network.top.get_weights()
    assert not np.array_equal(kernel, initial[0])
    for after, before in zip(normalisation, initial[2:], strict=True):
        np.testing.assert_array_equal(after, before)


def test_fine_tuning_learns_slowly(make_settings):
    first, second = training_phases(make_settings(**FINE_TUNING, learning_rate=0.01))
    assert first.learning_rate == 0.01
    assert second.learning_rate == pytest.approx(0.0001)


# In the first phase, at its end, and in the second.
@pytest.mark.parametrize("cut_off_after", [1, 2, 3])
def test_a_cut_off_in_either_phase_changes_nothing_in_the_end(
    train, whole, tmp_path, cut_off_after
):
    def cut_off(epoch: dict) -> None:
        if epoch["epoch"] == cut_off_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cut_off, **FINE_TUNING)
    told: list[dict] = []
    resumed, epochs = train(tmp_path, told.append, **FINE_TUNING)
    expected, expected_epochs = whole
    assert [{**e, "seconds": 0} for e in epochs] == [{**e, "seconds": 0} for e in expected_epochs]
    # TensorBoard's log begins anew, so the epochs from before are told again.
    assert told == epochs
    for after, before in zip(resumed.full.get_weights(), expected.full.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("strategy", "images"), [("representative", 32), ("balanced", 16), ("oversample", 48)]
)
def test_an_epoch_has_the_images_of_its_strategy(train, tmp_path, strategy, images):
    _, (epoch,) = train(tmp_path, epochs=1, sampling_strategy=strategy)
    assert epoch["tp"] + epoch["fp"] + epoch["tn"] + epoch["fn"] == images
    assert epoch["val_tp"] + epoch["val_fp"] + epoch["val_tn"] + epoch["val_fn"] == 32


def test_class_weights_weigh_in_the_loss_of_train_alone(train, tmp_path):
    # A rate of about nothing, so that both see the same network.
    _, (plain,) = train(tmp_path / "plain", epochs=1, learning_rate=1e-9)
    weights = {"positive": 2.0, "negative": 2.0}
    _, (doubled,) = train(tmp_path, epochs=1, learning_rate=1e-9, class_weight=weights)
    assert doubled["loss"] == pytest.approx(2 * plain["loss"], rel=1e-4)
    assert doubled["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)


def test_the_learning_rate_falls_on_a_plateau(train, tmp_path):
    # So low a rate that nothing gets better.
    _, epochs = train(tmp_path, epochs=4, learning_rate=1e-9, reduce_lr_on_plateau=1)
    rates = [epoch["learning_rate"] for epoch in epochs]
    assert rates == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11])


def test_trainings_share_an_identity_only_with_all_that_they_depend_on_in_common(
    make_settings, monkeypatch
):
    def split(digest: str) -> Split:
        return Split(
            name="train",
            files=("elsewhere",),
            labels=np.array([0, 1]),
            image_ids=np.array([b"a", b"b"]),
            class_names=np.array([b"cats", b"dogs"]),
            features_shape=None,
            digest=digest,
        )

    identity = training_identity(make_settings(), [split("a"), split("b")])
    assert training_identity(make_settings(), [split("a"), split("b")]) == identity
    assert training_identity(make_settings(), [split("a"), split("c")]) != identity
    assert training_identity(make_settings(epochs=9), [split("a"), split("b")]) != identity
    monkeypatch.setattr(rules, "VERSION", rules.VERSION + 1)
    assert training_identity(make_settings(), [split("a"), split("b")]) != identity


def test_a_checkpoint_is_replaced_whole(tmp_path):
    checkpoint = Checkpoint(str(tmp_path / "checkpoint"))
    assert checkpoint.load() == TrainingState()
    checkpoint.save(TrainingState([{"epoch": 1}], [np.ones(2), np.array(3)], None))
    checkpoint.save(TrainingState([{"epoch": 1}, {"epoch": 2}], [np.zeros(2)], [np.ones(1)]))
    state = checkpoint.load()
    assert state.epochs == [{"epoch": 1}, {"epoch": 2}]
    np.testing.assert_array_equal(state.variables, [np.zeros(2)])
    np.testing.assert_array_equal(state.best, [np.ones(1)])
    checkpoint.clear()
    assert not (tmp_path / "checkpoint").exists()
