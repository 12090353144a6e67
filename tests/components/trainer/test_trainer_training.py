"""Phases and checkpoints, on a network that trains in a fraction of a second."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.metrics import average_precision_score

from components.trainer import history, replicates, training
from components.trainer.checkpoint import Checkpoint, TrainingState, training_identity
from components.trainer.data import Split
from components.trainer.devices import device_policy
from components.trainer.features import Rows
from components.trainer.models import Network
from components.trainer.training import Training, training_phases, val_metrics


def _network() -> Network:
    """A frozen pretrained part with batch normalisation, followed by a new layer."""
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
    """Trains a new network with changed settings; returns it and the metrics of its epochs."""

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
    """An uninterrupted training in two phases."""
    return train(tmp_path_factory.mktemp("whole"), **FINE_TUNING)


def test_the_new_layers_are_trained_first_and_then_the_pretrained_ones(train, tmp_path):
    initial = _network().top.get_weights()
    # Without early stopping, which would restore the weights of the best epoch.
    network, epochs = train(tmp_path, **{**FINE_TUNING, "early_stopping": None})
    assert [epoch["phase"] for epoch in epochs] == ["train"] * 2 + ["fine_tune"] * 2
    kernel, _, *normalisation = network.top.get_weights()
    assert not np.array_equal(kernel, initial[0])
    for after, before in zip(normalisation, initial[2:], strict=True):
        np.testing.assert_array_equal(after, before)


def test_fine_tuning_has_a_lower_learning_rate(make_settings):
    first, second = training_phases(make_settings(**FINE_TUNING, learning_rate=0.01))
    assert first.learning_rate == 0.01
    assert second.learning_rate == pytest.approx(0.0001)


# In the first phase, at its end, and in the second.
@pytest.mark.parametrize("last_epoch", [1, 2, 3])
def test_an_interruption_in_either_phase_does_not_change_the_result(
    train, whole, tmp_path, last_epoch
):
    def interrupt(epoch: dict) -> None:
        if epoch["epoch"] == last_epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, interrupt, **FINE_TUNING)
    reported: list[dict] = []
    resumed, epochs = train(tmp_path, reported.append, **FINE_TUNING)
    expected, expected_epochs = whole
    assert [{**e, "seconds": 0} for e in epochs] == [{**e, "seconds": 0} for e in expected_epochs]
    # TensorBoard's log is written from the start, so earlier epochs are reported again.
    assert reported == epochs
    for after, before in zip(resumed.full.get_weights(), expected.full.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("strategy", "images"), [("representative", 32), ("balanced", 16), ("oversample", 48)]
)
def test_an_epoch_has_the_images_of_its_strategy(train, tmp_path, strategy, images):
    _, (epoch,) = train(tmp_path, epochs=1, sampling_strategy=strategy)
    assert epoch["tp"] + epoch["fp"] + epoch["tn"] + epoch["fn"] == images
    assert epoch["val_tp"] + epoch["val_fp"] + epoch["val_tn"] + epoch["val_fn"] == 32


def test_class_weights_only_affect_the_loss_of_train(train, tmp_path):
    # With this rate the network hardly changes.
    _, (plain,) = train(tmp_path / "plain", epochs=1, learning_rate=1e-9)
    weights = {"positive": 2.0, "negative": 2.0}
    _, (doubled,) = train(tmp_path, epochs=1, learning_rate=1e-9, class_weight=weights)
    assert doubled["loss"] == pytest.approx(2 * plain["loss"], rel=1e-4)
    assert doubled["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)


def _interpolated(labels, probabilities) -> float:
    """Keras's interpolated area under the precision-recall curve."""
    area = keras.metrics.AUC(curve="PR")
    area.update_state(labels, probabilities)
    return float(area.result())


@pytest.mark.parametrize("loss", ["binary_crossentropy", "focal"])
def test_the_metrics_on_val_are_those_of_one_exact_pass(rows, make_settings, tmp_path, loss):
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(1e-6)
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(1, "sigmoid", kernel_regularizer=penalty)]
    )
    # Saturated: many probabilities are 0 or 1 in float32, some of them wrong.
    model.set_weights([np.full((3, 1), 40.0), np.array([-30.0])])
    # 40 images are one full batch and a smaller one.
    val = Rows(
        np.concatenate([rows.values, rows.values[:8]]), np.append(rows.labels, rows.labels[:8])
    )
    (epoch,) = Training(
        Network(full=model, body=None, trained=model, top=None),
        train=rows,
        val=val,
        settings=make_settings(learning_rate=1e-12, epochs=1, loss=loss),
        policy=device_policy(0),
        checkpoint=Checkpoint(str(tmp_path / "checkpoint")),
    ).run()
    probabilities = model.predict(val.values, verbose=0)[:, 0]
    evaluated = model.evaluate(val.values, val.labels[:, None], verbose=0, return_dict=True)
    for name in ("loss", "tp", "fp", "tn", "fn", "accuracy", "precision", "recall"):
        assert epoch[f"val_{name}"] == pytest.approx(evaluated[name], rel=1e-5), name
    exact = average_precision_score(val.labels, probabilities)
    assert epoch["val_pr_auc"] == pytest.approx(exact, abs=1e-9)
    assert abs(_interpolated(val.labels, probabilities) - exact) > 0.02


def test_a_run_and_a_study_keep_the_same_epoch_of_saturated_scores():
    labels = np.array([1, 1, 0, 0, 0, 0])
    # Keras's thresholds treat the scores of `ordered` as equal, but their order is perfect.
    ordered = np.array([1 - 1e-7, 1 - 2e-7, 1 - 3e-7, 1 - 4e-7, 1 - 5e-7, 1 - 6e-7], np.float32)
    fair = np.array([0.9, 0.4, 0.5, 0.1, 0.1, 0.1], np.float32)
    epochs = [val_metrics(labels, scores, 0.1) for scores in (fair, ordered)]
    assert history.best_index(epochs) == 1
    assert _interpolated(labels, ordered) < _interpolated(labels, fair)
    # Both decide by the same function.
    assert training.val_metrics is replicates.val_metrics


def test_the_learning_rate_is_reduced_on_a_plateau(train, tmp_path):
    # With this rate the loss does not improve.
    _, epochs = train(tmp_path, epochs=4, learning_rate=1e-9, reduce_lr_on_plateau=1)
    rates = [epoch["learning_rate"] for epoch in epochs]
    assert rates == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11])


def test_trainings_share_an_identity_only_if_settings_and_images_are_the_same(make_settings):
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
    other = training_identity(make_settings(), [split("a"), split("b")], champion="c")
    assert other != identity


def test_a_checkpoint_is_replaced_completely(tmp_path):
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
