import json

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from components import training_balance
from components.trainer import post_hoc
from components.trainer.features import Rows
from components.trainer.models import build_network
from components.trainer.replicates import ArmRows, train_heads

LABELS = np.repeat([1, 0], [10, 90])


def _rows(seed: int) -> Rows:
    values = np.random.default_rng(seed).normal(LABELS[:, None], size=(LABELS.size, 6))
    return Rows(values.astype(np.float16), LABELS)


@pytest.fixture
def probabilities(make_settings):
    """Trains a head; returns its probabilities of val and its weights."""

    def train(**changes) -> tuple[np.ndarray, list[np.ndarray]]:
        settings = make_settings(model="xception", image_size=71, epochs=3, **changes)
        rows = ArmRows(train=_rows(0), val="val", evaluated={"val": _rows(1)})
        ((replicate,),) = train_heads(settings, [1], rows, on_epoch=lambda epoch: None)
        return replicate.probabilities["val"], replicate.weights

    return train


def test_scores_are_shifted_by_the_log_prior_odds(probabilities):
    """Menon et al., eq. 9, with two classes: the log odds minus tau times the log prior odds."""
    plain, weights = probabilities()
    shifted, other = probabilities(post_hoc="logit_adjusted", tau=0.5)
    expected = special.logit(plain) + 0.5 * np.log(9)
    np.testing.assert_allclose(special.logit(shifted), expected, atol=1e-4)
    np.testing.assert_array_equal(weights[0], other[0])
    assert np.mean(shifted >= 0.5) > np.mean(plain >= 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "cnn"},
        {"model": "xception", "image_size": 71, "fine_tune": True},
        {"model": "xception", "image_size": 71, "head": "flatten"},
    ],
)
def test_the_bias_before_the_last_sigmoid_is_the_last_weight_of_every_network(
    make_settings, changes
):
    network = build_network(make_settings(**changes))
    images = np.random.default_rng(0).random((2, *network.trained.input_shape[1:]), np.float32)
    before = network.trained(images, training=False)
    weights = network.trained.get_weights()
    network.trained.set_weights(post_hoc.shifted(weights, 1.5))
    after = network.trained(images, training=False)
    np.testing.assert_allclose(special.logit(after), special.logit(before) + 1.5, atol=1e-4)


def test_weights_that_do_not_end_with_a_bias_are_refused():
    with pytest.raises(ValueError, match=r"bias of one output.*Received: \(3, 2\)"):
        post_hoc.shifted([np.zeros((3, 2))], 1.0)


def test_the_exported_model_has_the_shift_and_records_its_balance(run_trainer):
    folders = [run_trainer("plain"), run_trainer("shifted", post_hoc="logit_adjusted")]
    plain, shifted = (tf.saved_model.load(str(model)) for model, _ in folders)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    images = tf.constant([tf.io.encode_png(pixels).numpy()])
    found, expected = (
        special.logit(model.signatures["predict_images"](images=images)["probability"].numpy())
        for model in (shifted, plain)
    )
    # Train has 4 positives and 12 negatives.
    np.testing.assert_allclose(found, expected + np.log(3), atol=1e-4)
    assert training_balance.read(str(folders[1][0])).odds == pytest.approx(1)
    epochs = [json.loads((run / "history.json").read_text())["epochs"] for _, run in folders]
    assert epochs[0][-1]["val_loss"] == epochs[1][-1]["val_loss"]
