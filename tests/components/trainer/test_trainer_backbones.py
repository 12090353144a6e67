"""The registry of pretrained networks: one network of each kind; `make backbones-check`: all."""

import os
import re
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.feature_extractor.backbone import Backbone
from components.images.rules import ReadingRules
from components.trainer import bodies
from components.trainer.backbones import CNN, MODELS, NETWORKS, check_model
from components.trainer.bodies import pretrained_body
from components.trainer.export import export
from components.trainer.models import build_network
from components.trainer.settings import TrainerSettings
from pipeline.features import frozen_backbone

# Of each pixel convention, and of each way to build and to split, the smallest.
_SMALL = ("convnext_tiny", "densenet121", "efficientnet_b0", "mobilenet", "nasnet_mobile", "vgg16")
_WALKED = tuple(NETWORKS) if os.environ.get("OUTNUMBERED_ALL_BACKBONES") else _SMALL


def _settings(model: str, **changes) -> TrainerSettings:
    size = NETWORKS[model].smallest
    return TrainerSettings(**{"model": model, "image_size": size, "weights": "none"} | changes)


@pytest.fixture(params=_WALKED)
def model(request):
    """The name of a network."""
    yield request.param
    keras.backend.clear_session()


@pytest.fixture
def pixels(model):
    """Images of the network's smallest size, float32 from 0 to 255."""
    side = NETWORKS[model].smallest
    return np.random.default_rng(0).uniform(0, 255, (3, side, side, 3)).astype(np.float32)


def _given(settings: TrainerSettings, pixels: np.ndarray) -> np.ndarray:
    """What the preprocessing gives the network for pixels from 0 to 255."""
    low, high = settings.pixel_range
    return low + pixels * ((high - low) / 255)


@cache
def _constructors() -> set[str]:
    return {name for name in dir(keras.applications) if name[0].isupper()}


def test_every_constructor_of_keras_is_in_the_registry_once():
    assert sorted(each.constructor for each in NETWORKS.values()) == sorted(_constructors())


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


def test_a_network_sees_what_keras_own_preprocessing_gives(model, pixels):
    network, settings = NETWORKS[model], _settings(model)
    body = pretrained_body(model, settings.image_size, "none", pooled=True)
    reference = getattr(keras.applications, network.constructor)(
        weights=None, include_top=False, input_shape=pixels.shape[1:], pooling="avg"
    )
    if network.module == "efficientnet":
        reference = bodies._as_for_imagenet(reference)
    reference.set_weights(body.get_weights())
    module = getattr(keras.applications, network.module)
    expected = reference(module.preprocess_input(pixels.copy()), training=False)
    found = body(_given(settings, pixels), training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected) > 0


def test_features_are_pooled_or_a_map(model):
    side = NETWORKS[model].smallest
    pooled = pretrained_body(model, side, "none", pooled=True).output_shape
    mapped = pretrained_body(model, side, "none", pooled=False).output_shape
    assert len(pooled) == 2
    assert len(mapped) == 4
    assert pooled[-1] == mapped[-1]


def test_an_exported_model_serves_the_networks_probabilities(model, pixels, tmp_path):
    settings = _settings(model)
    full = build_network(settings).full
    *others, kernel, bias = full.get_weights()
    full.set_weights([*others, 100 * kernel, bias])
    # Built anew, as the Trainer does.
    served = build_network(settings, weights="none").full
    served.set_weights(full.get_weights())
    rules = ReadingRules(image_size=settings.image_size, pixel_range=settings.pixel_range)
    export(served, rules, str(tmp_path))
    images = pixels.astype(np.uint8)
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    signature = tf.saved_model.load(str(tmp_path)).signatures["predict_images"]
    found = signature(images=tf.constant(encoded))["probability"]
    expected = full(_given(settings, images.astype(np.float32)), training=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fine_tuning_trains_the_last_stage_alone(model, pixels):
    settings = _settings(model, fine_tune=True)
    network = build_network(settings)
    whole = pretrained_body(model, settings.image_size, "none", pooled=True)
    bodies.unfreeze(network.top)
    trained = sum(np.prod(weight.shape) for weight in network.top.trainable_weights)
    assert 0.2 < trained / whole.count_params() < 0.9
    if network.body is not None:
        assert network.body.count_params() + network.top.count_params() == whole.count_params()
    images = _given(settings, pixels)
    in_full = network.full(images, training=False)
    rows = images if network.body is None else network.body(images, training=False)
    np.testing.assert_allclose(network.trained(rows, training=False), in_full, atol=1e-5)


def test_features_of_each_network_have_their_own_key(model):
    backbone = frozen_backbone(_settings(model))
    assert backbone == Backbone(
        model=model,
        weights="none",
        pooled=True,
        image_size=NETWORKS[model].smallest,
        input_scale="{:g}..{:g}".format(*_settings(model).pixel_range),
    )
    body = backbone.build()
    assert backbone.key(body) == backbone.key(body)
    other = Backbone(**vars(backbone) | {"model": "xception"})
    assert backbone.key(body) != other.key(body)
    assert backbone.node_id != other.node_id


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
        r"does not fit VGG19: its layer 'block4_conv1' must have weights of shape "
        r"\(3, 3, 256, 512\), and the file has \(3, 3, 512, 512\)\. It must be .*VGG19"
    )
    with pytest.raises(ValueError, match=message):
        pretrained_body("vgg19", 32, path, pooled=True)
