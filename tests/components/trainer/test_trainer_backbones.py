"""The registry of pretrained networks: one network of each kind; `make backbones-check`: all."""

import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.images.rules import ReadingRules
from components.trainer import bodies
from components.trainer.backbones import CNN, MODELS, NETWORKS, check_model
from components.trainer.bodies import pretrained_body
from components.trainer.export import export
from components.trainer.models import build_network
from components.trainer.settings import TrainerSettings
from pipeline.features import frozen_backbone

# Of each pixel convention, a small one.
_SMALL = ("convnext_tiny", "densenet121", "mobilenet", "vgg16")
_ALL = bool(os.environ.get("OUTNUMBERED_ALL_BACKBONES"))
_WALKED = tuple(NETWORKS) if _ALL else _SMALL
# The export of the others takes a minute.
_EXPORTED = _WALKED if _ALL else ("mobilenet", "vgg16")


def _settings(model: str, **changes) -> TrainerSettings:
    size = NETWORKS[model].smallest
    return TrainerSettings(**{"model": model, "image_size": size, "weights": "none"} | changes)


@pytest.fixture(scope="module", params=_WALKED)
def model(request):
    """The name of a network."""
    yield request.param
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def network(model):
    """The network with its head, at its smallest size, with random weights."""
    network = build_network(_settings(model))
    *others, kernel, bias = network.full.get_weights()
    # Else all images have about the same probability.
    network.full.set_weights([*others, 100 * kernel, bias])
    return network


@pytest.fixture(scope="module")
def pixels(model):
    """Images of the network's smallest size, float32 from 0 to 255."""
    side = NETWORKS[model].smallest
    return np.random.default_rng(0).integers(0, 256, (3, side, side, 3)).astype(np.float32)


def _given(model: str, pixels: np.ndarray) -> np.ndarray:
    """What the preprocessing gives the network for pixels from 0 to 255."""
    low, high = _settings(model).pixel_range
    return low + pixels * ((high - low) / 255)


def test_every_constructor_of_keras_is_in_the_registry_once():
    constructors = [name for name in dir(keras.applications) if name[0].isupper()]
    assert sorted(each.constructor for each in NETWORKS.values()) == constructors


def test_a_name_is_its_constructors_in_snake_case():
    for name, network in NETWORKS.items():
        assert name.replace("_", "") == network.constructor.lower()
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name)


@pytest.mark.parametrize("name", MODELS)
def test_every_name_is_a_valid_setting(name):
    TrainerSettings(model=name, image_size=NETWORKS[name].default if name != CNN else 128)


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [
        ("efficientnetv2s", "'efficientnet_v2_s'"),
        ("resnet_50", "'resnet50'"),
        ("ConvNeXtTiny", "'convnext_tiny'"),
    ],
)
def test_a_typo_is_refused_with_the_nearest_names(typo, nearest):
    with pytest.raises(ValueError, match=rf"did you mean .*{nearest}.*Received: '{typo}'"):
        check_model(typo)


def test_an_image_size_below_the_networks_smallest_is_refused(model):
    smallest = NETWORKS[model].smallest
    with pytest.raises(
        ValueError, match=f"at least {smallest} for '{model}'. Received: {smallest - 1}"
    ):
        _settings(model, image_size=smallest - 1)


def test_the_smallest_size_is_keras_own(model):
    side = NETWORKS[model].smallest - 1
    with pytest.raises(ValueError, match=r"(?i)at least|smallest|below"):
        getattr(keras.applications, NETWORKS[model].constructor)(
            weights=None, include_top=False, input_shape=(side, side, 3)
        )


def test_another_pixel_range_is_refused_where_it_would_have_no_meaning(model):
    if NETWORKS[model].pixels == "-1..1":
        assert _settings(model, input_scale="0..1").pixel_range == (0.0, 1.0)
        return
    with pytest.raises(ValueError, match=f"input_scale must be auto for '{model}'"):
        _settings(model, input_scale="0..1")


def test_a_network_sees_what_keras_own_preprocessing_gives(model, network, pixels):
    known = NETWORKS[model]
    reference = getattr(keras.applications, known.constructor)(
        weights=None, include_top=False, input_shape=pixels.shape[1:], pooling="avg"
    )
    if known.module == "efficientnet":
        reference = bodies._as_for_imagenet(reference)
    reference.set_weights(network.body.get_weights())
    preprocess = getattr(keras.applications, known.module).preprocess_input
    expected = reference(preprocess(pixels.copy()), training=False).numpy()
    found = network.body(_given(model, pixels), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 0
    assert found.ndim == 2


def test_a_network_for_any_size_gives_the_same_features(model, network, pixels):
    if not NETWORKS[model].any_size:
        pytest.skip("it has other layers then")
    any_size = pretrained_body(model, None, "none", pooled=True)
    any_size.set_weights(network.body.get_weights())
    images = _given(model, pixels)
    expected = network.body(images, training=False)
    np.testing.assert_allclose(any_size(images, training=False), expected, rtol=1e-3, atol=1e-6)


def test_an_exported_model_serves_the_networks_probabilities(model, network, pixels, tmp_path):
    if model not in _EXPORTED:
        pytest.skip("exported by `make backbones-check`")
    settings = _settings(model)
    # Built anew, as the Trainer does.
    served = build_network(settings, weights="none").full
    served.set_weights(network.full.get_weights())
    rules = ReadingRules(image_size=settings.image_size, pixel_range=settings.pixel_range)
    export(served, rules, str(tmp_path))
    encoded = [tf.io.encode_png(image.astype(np.uint8)).numpy() for image in pixels]
    signature = tf.saved_model.load(str(tmp_path)).signatures["predict_images"]
    found = signature(images=tf.constant(encoded))["probability"]
    expected = network.full(_given(model, pixels), training=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fine_tuning_trains_the_last_stage_alone(model, network, pixels):
    whole = network.body
    body, top = bodies.split(whole, bodies.last_stage(model, whole))
    assert body.count_params() + top.count_params() == whole.count_params()
    bodies.unfreeze(top)
    trained = sum(np.prod(weight.shape) for weight in top.trainable_weights)
    assert 0.2 < trained / whole.count_params() < 0.9
    assert not body.trainable_weights
    images = _given(model, pixels)
    expected = whole(images, training=False)
    np.testing.assert_allclose(top(body(images, training=False), training=False), expected)
    top.trainable = False


def test_a_top_with_two_inputs_is_trained_with_the_whole_network():
    network = build_network(_settings("nasnet_mobile", fine_tune=True))
    assert network.body is None
    assert network.trained is network.full
    assert len(network.top.inputs) == 2
    before = len(network.trained.trainable_weights)
    bodies.unfreeze(network.top)
    assert len(network.trained.trainable_weights) > before


def test_several_sizes_are_refused_where_the_layers_depend_on_them():
    with pytest.raises(ValueError, match=r"one side for 'nasnet_mobile'.*sides \[48, 64\]"):
        _settings("nasnet_mobile", image_size=64, views=["original", 48])


def test_each_network_has_its_own_backbone_and_features():
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    backbones = [frozen_backbone(_settings(model)) for model in NETWORKS]
    assert len({backbone.node_id for backbone in backbones}) == len(NETWORKS)
    assert len({backbone.key(body) for backbone in backbones}) == len(NETWORKS)


def test_an_efficientnet_from_a_file_is_that_of_keras_imagenet_weights(monkeypatch, tmp_path):
    path = str(tmp_path / "body.weights.h5")
    keras.applications.EfficientNetB0(weights=None, include_top=False).save_weights(path)
    # In place of the download.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *a, **k: path)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = keras.applications.EfficientNetB0(
        weights="imagenet", include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )(images, training=False)
    for weights in (path, "imagenet"):
        found = pretrained_body("efficientnet_b0", 32, weights, pooled=True)
        np.testing.assert_allclose(found(images, training=False), expected, rtol=1e-4, atol=1e-6)
    served = pretrained_body("efficientnet_b0", 32, "none", pooled=True)
    served.set_weights(found.get_weights())
    np.testing.assert_allclose(served(images, training=False), expected, rtol=1e-4, atol=1e-6)


def test_weights_of_another_network_are_refused_with_the_layer_and_its_shape(tmp_path):
    path = str(tmp_path / "vgg.weights.h5")
    keras.applications.VGG16(weights=None, include_top=False).save_weights(path)
    message = (
        r"does not fit VGG19: its layer 'block3_conv4' must have weights of shape "
        r"\(3, 3, 256, 256\), and the file has \(3, 3, 256, 512\)\. It must be .*VGG19"
    )
    with pytest.raises(ValueError, match=message):
        pretrained_body("vgg19", 32, path, pooled=True)
