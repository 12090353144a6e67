"""Views of an image, whose features a frozen network averages."""

import keras
import numpy as np
import pytest
from keras import layers

from components.trainer import views
from components.trainer.bodies import body_of_views
from components.trainer.models import build_network, each_view
from components.trainer.settings import TrainerSettings
from components.trainer.views import View

SIZE = 32
CROP = 28


@pytest.fixture(scope="module")
def network():
    """A network of the user's own, for images of any size."""
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3))
    found = layers.Conv2D(5, 3, strides=2, activation="relu")(images)
    return keras.Model(images, found)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    """Its file."""
    path = tmp_path_factory.mktemp("own") / "own.keras"
    network.save(path)
    return str(path)


@pytest.fixture(scope="module")
def images():
    """Smooth images, which keep their look in other sizes, float32 from 0 to 255."""
    coarse = np.random.default_rng(0).uniform(0, 255, (3, 4, 4, 3)).astype(np.float32)
    return keras.ops.image.resize(coarse, (SIZE, SIZE)).numpy()


def _settings(path: str, *names, **changes) -> TrainerSettings:
    return TrainerSettings(**{"model": path, "image_size": SIZE, "views": list(names)} | changes)


def _features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return network(images, training=False).numpy().mean(axis=(1, 2))


def _body(path: str, *names) -> keras.Model:
    return body_of_views(path, SIZE, "imagenet", pooled=True, views=views.names(names))


def test_groups_are_single_views_without_repetition():
    assert views.names(["original", "center_crop", "five_crops", 24]) == (
        "original",
        "center_crop",
        "top_left_crop",
        "top_right_crop",
        "bottom_left_crop",
        "bottom_right_crop",
        "side_24",
    )
    assert len(views.names(["ten_crops"])) == 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("original", View(0, 0, SIZE, SIZE, False)),
        ("original_mirror", View(0, 0, SIZE, SIZE, True)),
        ("center_crop", View(2, 2, CROP, CROP, False)),
        ("top_right_crop", View(0, 4, CROP, CROP, False)),
        ("bottom_left_crop_mirror", View(4, 0, CROP, CROP, True)),
        ("side_24", View(0, 0, SIZE, 24, False)),
    ],
)
def test_a_view_is_a_part_of_the_image_in_a_size(name, expected):
    assert views.view(name, SIZE) == expected


def test_the_mirror_image_and_the_original_are_averaged(path, network, images):
    expected = (_features(network, images) + _features(network, images[:, :, ::-1])) / 2
    found = _body(path, "original", "mirror")(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - _features(network, images)).max() > 1e-2


def test_the_features_of_each_view_are_those_that_are_averaged(path, network, images):
    expected = [_features(network, images), _features(network, images[:, :, ::-1])]
    found = each_view(_body(path, "original", "mirror"))(images)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-4, atol=1e-4)


def test_crops_are_not_resized(path, network, images):
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    crops = [images[:, top : top + CROP, left : left + CROP] for top, left in corners]
    expected = np.mean([_features(network, crop) for crop in crops], axis=0)
    np.testing.assert_allclose(_body(path, "five_crops")(images), expected, rtol=1e-4, atol=1e-4)


def test_a_network_sees_the_image_in_two_sizes(path, network, images):
    smaller = keras.ops.image.resize(images, (24, 24), antialias=True)
    expected = (_features(network, images) + _features(network, smaller)) / 2
    found = _body(path, "original", 24)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_network_has_its_weights_once(path, network):
    built = build_network(_settings(path, "ten_crops", 24))
    assert built.body.count_params() == network.count_params()


@pytest.mark.parametrize("model", ["mobilenet", "efficientnet_b0", "vgg16"])
def test_a_network_of_keras_gives_each_size_what_it_gives_it_alone(model):
    size, smaller = 96, 64
    body = body_of_views(model, size, "none", pooled=True, views=("original", f"side_{smaller}"))
    noise = np.random.default_rng(0).uniform(0, 1, (2, size, size, 3)).astype(np.float32)
    parts = []
    for side in (size, smaller):
        alone = body_of_views(model, side, "none", pooled=True)
        alone.set_weights(body.get_weights())
        parts.append(alone(keras.ops.image.resize(noise, (side, side), antialias=True)))
    np.testing.assert_allclose(body(noise), np.mean(parts, axis=0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "cnn"}, "requires a pretrained model with the pooled head"),
        ({"model": "xception", "fine_tune": True}, "without fine_tune and augmentation"),
        ({"model": "xception", "head": "flatten"}, "with the pooled head"),
        ({"views": [300]}, r"to trainer.image_size, 224.*Received: sides \[300\]"),
        ({"views": [40]}, r"sides from 71, the smallest of 'xception'.*sides \[40\]"),
        ({"views": []}, "at least 1 item"),
        ({"views": ["mirrored"]}, "original.*mirror"),
        ({"views": ["original"], "views_as": "rows"}, "requires several trainer.views.*original"),
        (
            {"views_as": "rows", "optimizer": "adam"},
            "pooled head on a frozen network that is solved.*optimizer 'adam'",
        ),
        ({"views_as": "rows", "mixup": 0.2}, "that is solved.*Received: .*mixup"),
        ({"views_as": "rows", "sampling_strategy": "smote"}, "that is solved.*Received: .*'smote'"),
        ({"views_as": "stacked"}, "'average' or 'rows'"),
    ],
)
def test_views_that_do_not_fit_are_refused(changes, message):
    settings = {"model": "xception", "image_size": 224, "views": ["original", "mirror"]}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        TrainerSettings(**settings | changes)
