import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.bodies import pretrained_body, unfreeze
from components.trainer.models import build_network, pooled_head

WEIGHTS = Path(__file__).resolve().parents[4] / "shared/weights/xception_notop.weights.h5"


def test_the_simple_cnn_has_the_parameters_of_the_original(make_settings):
    network = build_network(make_settings(model="cnn", image_size=128))
    assert network.full.count_params() == 2_190_529
    assert network.trained is network.full
    assert network.body is None


def test_the_frozen_xception_has_the_parameters_of_the_original(make_settings):
    network = build_network(make_settings(model="xception", head="flatten", image_size=128))
    assert network.full.count_params() == 37_639_721
    assert network.body.count_params() == 20_861_480
    trainable = sum(np.prod(weight.shape) for weight in network.full.trainable_weights)
    assert trainable == 37_639_721 - 20_861_480


def test_the_pooled_head_is_scikit_learns_penalised_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    features = (rng.normal(size=(64, 5)) + labels[:, None]).astype(np.float32)
    expected = LogisticRegression(C=0.01, tol=1e-8).fit(features, labels)
    inputs = keras.Input((5,))
    head = keras.Model(inputs, pooled_head(inputs, penalty=1 / (2 * 0.01 * 64)))
    head.compile(keras.optimizers.Adam(0.03), "binary_crossentropy")
    images = tf.data.Dataset.from_tensors((features, labels[:, None])).repeat(600)
    head.fit(images, verbose=0)
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(kernel[:, 0], expected.coef_[0], atol=2e-3)
    np.testing.assert_allclose(bias, expected.intercept_, atol=2e-3)


@pytest.fixture(scope="module")
def fine_tuned(make_settings):
    """A randomly initialised network prepared for fine-tuning, at the smallest size."""
    return build_network(make_settings(model="xception", image_size=71, fine_tune=True))


def test_body_and_trained_part_make_up_the_network(fine_tuned):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 71, 71, 3)).astype(np.float32)
    parts = fine_tuned.trained(fine_tuned.body(images, training=False), training=False)
    np.testing.assert_allclose(parts, fine_tuned.full(images, training=False), atol=1e-6)


def test_fine_tuning_trains_the_last_two_blocks_without_batch_normalisation(fine_tuned):
    before = len(fine_tuned.trained.trainable_weights)
    unfreeze(fine_tuned.top)
    names = {weight.path.split("/")[-2] for weight in fine_tuned.top.trainable_weights}
    assert {"block13_sepconv1", "block14_sepconv2"} <= names
    assert not any(name.endswith("_bn") for name in names)
    assert not any(name.startswith("block12") for name in names)
    assert len(fine_tuned.trained.trainable_weights) > before
    assert not fine_tuned.body.trainable_weights


def test_with_augmentation_nothing_is_computed_in_advance(make_settings):
    network = build_network(
        make_settings(model="xception", head="pooled", image_size=71, augmentation=True)
    )
    assert network.body is None
    assert network.trained is network.full
    assert len(network.full.trainable_weights) == 2


def test_weights_that_do_not_exist_are_refused_with_the_path(make_settings):
    settings = make_settings(model="xception", image_size=71, weights="no/such.weights.h5")
    with pytest.raises(FileNotFoundError, match=r"does not exist.*: 'no/such\.weights\.h5'"):
        build_network(settings)


@pytest.mark.parametrize("name", ["text.weights.h5", "cnn.weights.h5"])
def test_weights_that_do_not_fit_are_refused_with_the_path(make_settings, tmp_path, name):
    path = tmp_path / name
    path.write_text("not HDF5")
    if name.startswith("cnn"):
        build_network(make_settings(model="cnn")).full.save_weights(path)
    settings = make_settings(model="xception", image_size=71, weights=str(path))
    with pytest.raises(ValueError, match=rf"(?s)does not fit Xception: .*Received: .*{name}'"):
        build_network(settings)


@pytest.mark.skipif(not WEIGHTS.exists(), reason="needs ../shared/weights")
def test_weights_are_loaded_from_a_path(make_settings):
    settings = make_settings(model="xception", image_size=71, weights=str(WEIGHTS))
    kernel = build_network(settings).body.get_layer("block1_conv1").kernel
    reference = keras.applications.Xception(weights=WEIGHTS, include_top=False)
    np.testing.assert_array_equal(kernel, reference.get_layer("block1_conv1").kernel)


def test_the_error_of_a_failed_download_says_how_to_set_a_path(monkeypatch, tmp_path):
    # An empty cache, and a proxy that refuses connections.
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    urllib.request.install_opener(None)
    with pytest.raises(ConnectionError, match=r"not download .* set trainer.weights to a file"):
        pretrained_body("xception", 71, "imagenet", pooled=True)
