import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.trainer.preprocessing import Preprocessing


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (33, 47, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_is_decoded_shrunk_with_antialiasing_and_scaled(pixels, kind):
    encoded = _encoded(pixels, kind)
    decoded = pixels if kind == "PNG" else tf.io.decode_jpeg(encoded, channels=3).numpy()
    expected = tf.image.resize(decoded.astype(np.float32), (20, 20), antialias=True) / 255.0
    image = Preprocessing(20, (0.0, 1.0))(encoded)
    assert image.dtype == tf.float32
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_a_shrunk_pattern_keeps_its_mean():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[::2] = 255
    image = Preprocessing(8, (0.0, 1.0))(_encoded(pixels, "PNG")).numpy()
    np.testing.assert_allclose(image[1:-1], 0.5, atol=0.02)


def test_an_enlarged_image_is_interpolated_between_neighbours(pixels):
    expected = tf.image.resize(pixels, (96, 96), method="bilinear") / 255.0
    image = Preprocessing(96, (0.0, 1.0))(_encoded(pixels, "PNG"))
    np.testing.assert_allclose(image, expected, atol=1e-5)


def test_black_and_white_become_the_ends_of_the_range():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    image = Preprocessing(8, (-1.0, 1.0))(_encoded(pixels, "PNG")).numpy()
    assert image[:, :4].max() == -1.0
    assert image[:, 4:].min() == 1.0


def test_grey_and_transparent_images_become_rgb(pixels):
    preprocessing = Preprocessing(8, (0.0, 1.0))
    assert preprocessing(_encoded(pixels[..., 0], "PNG")).shape == (8, 8, 3)
    alpha = np.concatenate([pixels, pixels[..., :1]], axis=2)
    assert preprocessing(_encoded(alpha, "PNG")).shape == (8, 8, 3)


def test_eager_dataset_and_batch_give_the_same_pixels(pixels):
    preprocessing = Preprocessing(16, (-1.0, 1.0))
    encoded = [_encoded(pixels, "JPEG"), _encoded(pixels[:21], "PNG")]
    eager = np.stack([preprocessing(one).numpy() for one in encoded])
    dataset = tf.data.Dataset.from_tensor_slices(encoded).map(preprocessing).batch(2)
    np.testing.assert_array_equal(next(iter(dataset)), eager)
    np.testing.assert_array_equal(tf.function(preprocessing.batch)(tf.constant(encoded)), eager)


def test_a_batch_may_be_empty():
    batch = Preprocessing(16, (0.0, 1.0)).batch(tf.constant([], tf.string))
    assert batch.shape == (0, 16, 16, 3)
