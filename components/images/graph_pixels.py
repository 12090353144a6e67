"""The reader's operations on pixels in TensorFlow, with identical results.

The functions work eagerly, in a tf.function and in a SavedModel.
"""

import math

import tensorflow as tf

# Pillow scales images with integers: weights are multiples of 2**-22.
_PRECISION_BITS = 22
_LANCZOS_LOBES = 3

# Rows that are scaled at a time, since the whole image as int32 takes four times its memory.
_STRIP = 256


def flattened(rgba: tf.Tensor) -> tf.Tensor:
    """Composites an image onto white, like `PIL.Image.alpha_composite`.

    Args:
      rgba: uint8 (height, width, 4).

    Returns:
      uint8 (height, width, 3).
    """
    wide = tf.cast(rgba, tf.uint16)
    colour, alpha = wide[..., :3], wide[..., 3:]
    weighted = colour * alpha + 255 * (255 - alpha) + 128
    # Division by 255 with rounding, within 16 bits.
    divided = tf.bitwise.right_shift(tf.bitwise.right_shift(weighted, 8) + weighted, 8)
    return tf.cast(divided, tf.uint8)


def shrunk_size(size: tf.Tensor, max_side: int) -> tf.Tensor:
    """Returns height and width of an image that is scaled down, like `rules.shrunk_size`.

    Args:
      size: height and width, int64 (2,).
      max_side: longest side in pixels; 0 keeps the size.
    """
    longest = tf.reduce_max(size)
    if not max_side:
        return size
    scaled = tf.maximum((2 * size * max_side + longest) // (2 * longest), 1)
    return tf.where(longest > max_side, scaled, size)


def resized(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Scales an image by Lanczos' filter, like `PIL.Image.Image.resize`.

    Args:
      image: uint8 (height, width, 3).
      size: height and width of the result, int64 (2,).

    Returns:
      uint8 (*size, 3).
    """
    rows_first = tf.transpose(_strips_scaled(image, size[1]), (1, 0, 2))
    return _apply_weights(_weights(tf.shape(image)[0], size[0]), rows_first)


def _strips_scaled(image: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Scales an image to `width`, in strips of rows; returns uint8 (width, height, 3)."""
    shape = tf.shape(image)
    strips = -(-shape[0] // _STRIP)
    padded = tf.pad(image, [[0, strips * _STRIP - shape[0]], [0, 0], [0, 0]])
    by_strip = tf.reshape(padded, (strips, _STRIP, shape[1], 3))
    weights = _weights(shape[1], width)

    def scaled(strip: tf.Tensor) -> tf.Tensor:
        return _apply_weights(weights, tf.transpose(strip, (1, 0, 2)))

    signature = tf.TensorSpec((None, _STRIP, 3), tf.uint8)
    columns = tf.map_fn(scaled, by_strip, fn_output_signature=signature, parallel_iterations=1)
    whole = tf.reshape(tf.transpose(columns, (1, 0, 2, 3)), (-1, strips * _STRIP, 3))
    return whole[:, : shape[0]]


def _apply_weights(weights: tf.SparseTensor, image: tf.Tensor) -> tf.Tensor:
    """Applies weights, int32 (m, n), to the first axis of an image, uint8 (n, k, 3)."""
    shape = tf.shape(image)
    flat = tf.cast(tf.reshape(image, (shape[0], -1)), tf.int32)
    sums = tf.sparse.sparse_dense_matmul(weights, flat) + (1 << (_PRECISION_BITS - 1))
    levels = tf.clip_by_value(tf.bitwise.right_shift(sums, _PRECISION_BITS), 0, 255)
    return tf.cast(tf.reshape(levels, (-1, shape[1], 3)), tf.uint8)


def _weights(old: tf.Tensor, new: tf.Tensor) -> tf.SparseTensor:
    """Returns the weight of each old pixel in each new one, int32 (new, old)."""
    scale = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    spread = tf.maximum(scale, 1.0)
    support = _LANCZOS_LOBES * spread
    centres = (tf.cast(tf.range(new), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centres - support + 0.5, tf.int32), 0)
    end = tf.minimum(tf.cast(centres + support + 0.5, tf.int32), old)
    taps = tf.range(2 * tf.cast(tf.math.ceil(support), tf.int32) + 1)
    positions = first[:, None] + taps[None]
    distances = (tf.cast(positions, tf.float64) - centres[:, None] + 0.5) / spread
    inside = positions < end[:, None]
    values = tf.where(inside, _lanczos(distances), tf.zeros_like(distances))
    values *= 2.0**_PRECISION_BITS / tf.reduce_sum(values, axis=1, keepdims=True)
    rows = tf.broadcast_to(tf.range(tf.shape(first)[0])[:, None], tf.shape(positions))
    indices = tf.stack([rows[inside], positions[inside]], axis=1)
    shape = tf.stack([tf.cast(new, tf.int64), tf.cast(old, tf.int64)])
    rounded = tf.cast(tf.round(values[inside]), tf.int32)
    return tf.SparseTensor(tf.cast(indices, tf.int64), rounded, shape)


def _lanczos(distances: tf.Tensor) -> tf.Tensor:
    values = _sinc(distances) * _sinc(distances / _LANCZOS_LOBES)
    inside = (distances >= -_LANCZOS_LOBES) & (distances < _LANCZOS_LOBES)
    return tf.where(inside, values, tf.zeros_like(values))


def _sinc(values: tf.Tensor) -> tf.Tensor:
    angles = values * math.pi
    return tf.where(angles == 0, tf.ones_like(angles), tf.sin(angles) / angles)


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns an image upright.

    Args:
      image: uint8 (height, width, 3).
      orientation: EXIF orientation, 1 to 8, int32 ().
    """
    across = tf.transpose(image, (1, 0, 2))
    branches = [
        lambda: image,
        lambda: tf.reverse(image, [1]),
        lambda: tf.reverse(image, [0, 1]),
        lambda: tf.reverse(image, [0]),
        lambda: across,
        lambda: tf.reverse(across, [1]),
        lambda: tf.reverse(across, [0, 1]),
        lambda: tf.reverse(across, [0]),
    ]
    return tf.switch_case(orientation - 1, branches)
