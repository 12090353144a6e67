"""A network of the user's own as the pretrained part of a model: a `.keras` file."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from components.images.rules import ReadingRules
from components.trainer import weights
from components.trainer.bodies import pretrained_body
from components.trainer.export import export
from components.trainer.models import build_network
from components.trainer.settings import TrainerSettings
from pipeline.features import frozen_backbone

SIZE = 24


@keras.saving.register_keras_serializable("test")
class Halved(layers.Layer):
    """A layer that Keras does not have."""

    def call(self, inputs):
        return inputs / 2


@keras.saving.register_keras_serializable("keras_hub")
class OfHub(layers.Layer):
    """A layer with the name of one of keras-hub."""

    def call(self, inputs):
        return inputs


def _network(*more: keras.Layer, size: int | None = SIZE, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(5, 3, activation="relu"),
            layers.BatchNormalization(),
            *more,
        ]
    )


@pytest.fixture
def saved(tmp_path):
    """Saves a network; returns its path."""

    def save(network: keras.Model, name: str = "own.keras") -> str:
        path = tmp_path / name
        network.save(path)
        return str(path)

    return save


def _settings(path: str, **changes) -> TrainerSettings:
    return TrainerSettings(**{"model": path, "image_size": SIZE} | changes)


def _images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [SIZE, None])
def test_its_map_is_pooled_and_its_weights_are_those_of_the_file(saved, size):
    network = _network(size=size)
    body = pretrained_body(saved(network), SIZE, "imagenet", pooled=True)
    expected = network(_images(), training=False).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(body(_images(), training=False), expected, rtol=1e-5)


def test_features_that_are_already_pooled_are_kept(saved):
    network = _network(layers.GlobalMaxPooling2D())
    body = pretrained_body(saved(network), SIZE, "imagenet", pooled=True)
    np.testing.assert_allclose(
        body(_images(), training=False), network(_images(), training=False), rtol=1e-6
    )


def test_it_gets_pixels_from_0_to_255_unless_a_range_is_set():
    assert _settings("own.keras").pixel_range == (0.0, 255.0)
    assert _settings("own.keras", input_scale="-1..1").pixel_range == (-1.0, 1.0)


def test_the_exported_model_serves_its_probabilities(saved, tmp_path):
    settings = _settings(saved(_network()))
    full = build_network(settings).full
    served = build_network(settings, weights="none").full
    served.set_weights(full.get_weights())
    rules = ReadingRules(image_size=SIZE, pixel_range=settings.pixel_range)
    export(served, rules, str(tmp_path / "model"))
    encoded = [tf.io.encode_png(image.astype(np.uint8)).numpy() for image in _images()]
    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["predict_images"]
    found = signature(images=tf.constant(encoded))["probability"]
    np.testing.assert_allclose(found, full(_images(), training=False), atol=1e-6)
    assert np.ptp(found) > 0


def test_its_features_are_known_by_its_content_wherever_it_is(saved):
    def key(path: str) -> str:
        backbone = frozen_backbone(_settings(path))
        return backbone.key(backbone.build())

    first = key(saved(_network()))
    assert key(saved(_network(), "copy.keras")) != key(saved(_network(seed=1), "other.keras"))
    assert key(saved(_network(), "own.keras")) != key(saved(_network(layers.ReLU())))
    assert len(first) == 32


def test_a_copy_of_the_file_has_the_same_features(saved, tmp_path):
    path = saved(_network())
    copy = tmp_path / "copy.keras"
    copy.write_bytes((tmp_path / "own.keras").read_bytes())
    one, other = frozen_backbone(_settings(path)), frozen_backbone(_settings(str(copy)))
    assert one.key(one.build()) == other.key(other.build())


def test_a_replaced_file_has_another_version(saved):
    path = saved(_network())
    before = weights.version("imagenet", path)
    saved(_network(seed=1))
    assert len(before) == 64
    assert weights.version("imagenet", path) != before


@pytest.mark.parametrize("layer", [layers.Lambda(lambda each: each / 2), Halved()])
def test_code_in_the_file_is_not_run(saved, layer, monkeypatch):
    path = saved(_network(layer))
    # As in a process that does not have the class.
    monkeypatch.setattr("keras.src.saving.object_registration.GLOBAL_CUSTOM_OBJECTS", {})
    monkeypatch.delitem(globals(), "Halved")
    with pytest.raises(ValueError, match=r"of Keras and keras-hub alone, as no code .*own\.keras'"):
        pretrained_body(path, SIZE, "imagenet", pooled=True)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "own.keras"
    path.write_text("no zip")
    with pytest.raises(ValueError, match=r"can't be loaded: it must be written by keras"):
        pretrained_body(str(path), SIZE, "imagenet", pooled=True)


def test_a_network_of_another_image_size_is_refused(saved):
    path = saved(_network(size=32))
    with pytest.raises(
        ValueError, match=r"images of shape \(None, 24, 24, 3\).*\(None, 32, 32, 3\)"
    ):
        pretrained_body(path, SIZE, "imagenet", pooled=True)


def test_a_network_without_features_is_refused(saved):
    network = _network(size=None)
    path = saved(keras.Model(network.inputs, [network.outputs[0]] * 2))
    with pytest.raises(ValueError, match=r"must return features of shape .* Received: \[\(None, "):
        pretrained_body(path, SIZE, "imagenet", pooled=True)


def test_images_may_be_given_by_name_and_tokens_are_averaged(saved):
    """As the vision transformers of keras-hub do."""
    images = keras.Input((SIZE, SIZE, 3), name="images")
    tokens = layers.Reshape((-1, 5))(_network()(images))
    network = keras.Model({"images": images}, tokens)
    body = pretrained_body(saved(network), SIZE, "imagenet", pooled=True)
    expected = network({"images": _images()}, training=False).numpy().mean(axis=1)
    np.testing.assert_allclose(body(_images(), training=False), expected, rtol=1e-5)


def test_layers_of_keras_hub_require_its_extra(saved, monkeypatch):
    path = saved(_network(OfHub()))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r"layers of keras-hub: install outnumbered\[hub\]"):
        pretrained_body(path, SIZE, "imagenet", pooled=True)


def test_a_vision_transformer_of_keras_hub_is_a_backbone(saved):
    hub = pytest.importorskip("keras_hub", reason="needs the extra hub")
    network = hub.models.DINOV2Backbone(
        patch_size=8,
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=16,
        image_shape=(SIZE, SIZE, 3),
    )
    body = pretrained_body(saved(network), SIZE, "imagenet", pooled=True)
    expected = network({"images": _images()}, training=False).numpy().mean(axis=1)
    np.testing.assert_allclose(body(_images(), training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_tune": True}, "fine_tune must be false for a network of your own"),
        ({"weights": "a.weights.h5"}, "weights must be left out for a network of your own"),
        ({"model": "folder/network"}, r"the path of a file that ends in \.keras"),
        ({"model": "gs://bucket/own.keras"}, "must be a path on this machine"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainerSettings(**{"model": "own.keras", "image_size": SIZE} | changes)


def test_a_file_that_does_not_exist_is_refused_before_the_run():
    with pytest.raises(FileNotFoundError, match=r"trainer.model does not exist.*'no/own\.keras'"):
        weights.check_weights("imagenet", "no/own.keras")
