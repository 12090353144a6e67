"""Random changes of training images, which depend only on seed, epoch and batch number."""

import tensorflow as tf

_SMALLEST_CROP = 0.8
"""Side of the smallest crop, as a fraction of the image's."""


def augment(images: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images left to right, and zooms and shifts each of them.

    Each is cropped to a square of 0.8 to 1 of its side, at a random place, and resized back.

    Args:
      images: float32 (b, size, size, 3).
      seed: int64 (2,).

    Returns:
      float32 of the same shape.
    """
    count, size = tf.shape(images)[0], images.shape[1]
    side, x, y, mirror = tf.unstack(tf.random.stateless_uniform((4, count), seed))
    side = _SMALLEST_CROP + (1 - _SMALLEST_CROP) * side
    left, top = x * (1 - side), y * (1 - side)
    right, bottom = left + side, top + side
    # A box with right < left is sampled backwards, which mirrors the image.
    left, right = tf.where(mirror < 0.5, left, right), tf.where(mirror < 0.5, right, left)
    boxes = tf.stack([top, left, bottom, right], axis=1)
    return tf.image.crop_and_resize(images, boxes, tf.range(count), (size, size))


def augment_batches(batches: tf.data.Dataset, *, random_state: int, epoch: int) -> tf.data.Dataset:
    """Augments the images of a dataset of (images, labels), with one seed per batch."""

    def augmented(index: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        images, labels = batch
        seed = tf.stack([tf.constant(random_state, tf.int64), epoch * 2**32 + index])
        return augment(images, seed=seed), labels

    return batches.enumerate().map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
