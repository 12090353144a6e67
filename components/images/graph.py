"""The reader's rules as TensorFlow operations, by which a served model reads raw images.

`read` returns the same pixels as `decode` of the image that the reader would store. Images that
TensorFlow can't read in the same way are detected by their bytes and refused, never misread.
All functions work eagerly, in a tf.function and in a SavedModel.
"""

import tensorflow as tf

from components.images import graph_headers, graph_pixels
from components.images.graph_headers import JPEG, PNG, Header
from components.images.reader import JPEG_QUALITY, JPEG_REDUCTION_MARGIN
from components.images.rules import ReadingRules

_ADVICE = "send it through the gateway, which reads it as ingestion does"
_REDUCTIONS = (8, 4, 2, 1)


def decode(data: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of a stored image, as used in training.

    Args:
      data: a JPEG or PNG written by the reader, string ().

    Returns:
      uint8 (height, width, 3).
    """
    # With expand_animations=False the result has a known rank.
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def read(data: tf.Tensor, rules: ReadingRules, name: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of a raw image.

    A JPEG or PNG that the reader stores unchanged, including those that it wrote, is only decoded
    by `decode`.

    Args:
      data: a JPEG, PNG, GIF or BMP, string ().
      rules: how it is read.
      name: name of the image in the message of a refusal, string ().

    Returns:
      uint8 (height, width, 3).

    Raises:
      tf.errors.InvalidArgumentError: it can't be decoded, or not as by the reader; the
        message says why.
    """
    found = graph_headers.header(data)
    refusal = _refusal(found, rules.max_pixels)
    message = tf.strings.join([name, " is refused: ", refusal])
    with tf.control_dependencies([tf.debugging.Assert(refusal == "", [message])]):
        checked, size = tf.identity(data), tf.stack([found.height, found.width])
    is_small = not rules.max_side or tf.reduce_max(size) <= rules.max_side
    is_stored = found.is_rgb & (found.orientation == 1) & is_small
    return tf.cond(
        is_stored, lambda: decode(checked), lambda: _converted(checked, size, found, rules)
    )


def _refusal(found: Header, max_pixels: int) -> tf.Tensor:
    too_large = found.width * found.height > max_pixels
    size = tf.strings.join(
        [tf.strings.as_string(side) for side in (found.width, found.height)], " x "
    )
    limit = f" pixels; at most {max_pixels:,} are allowed"
    unread = tf.strings.join([found.refusal, f"; {_ADVICE}"])
    large = tf.where(too_large, tf.strings.join(["it has ", size, limit]), "")
    return tf.where(found.refusal == "", large, unread)


def _converted(data: tf.Tensor, size: tf.Tensor, found: Header, rules: ReadingRules) -> tf.Tensor:
    """Returns what `decode` returns for the file that the reader would write."""
    kind = graph_headers.kind(data)
    image = tf.switch_case(
        tf.minimum(kind, 2),
        {
            JPEG: lambda: _decoded_jpeg(data, size, rules.max_side),
            PNG: lambda: _decoded_png(data, found.has_alpha),
            2: lambda: decode(data),
        },
    )
    if rules.max_side:
        target = graph_pixels.shrunk_size(size, rules.max_side)
        is_large = tf.reduce_any(target != tf.shape(image, tf.int64)[:2])
        image = tf.cond(is_large, lambda: graph_pixels.resized(image, target), lambda: image)
    upright = graph_pixels.turned(image, found.orientation)
    return tf.cond(kind == JPEG, lambda: _recompressed(upright), lambda: upright)


def _decoded_png(data: tf.Tensor, has_alpha: tf.Tensor) -> tf.Tensor:
    # TensorFlow fills a missing alpha channel with less than 255.
    return tf.cond(
        has_alpha,
        lambda: graph_pixels.flattened(tf.io.decode_png(data, channels=4)),
        lambda: tf.io.decode_png(data, channels=3),
    )


def _decoded_jpeg(data: tf.Tensor, size: tf.Tensor, max_side: int) -> tf.Tensor:
    """Decodes a JPEG at the same reduced size as the reader."""
    branches = [lambda ratio=ratio: _accurate(data, ratio) for ratio in _REDUCTIONS]
    if not max_side:
        return branches[-1]()
    factor = tf.reduce_min(size) // (JPEG_REDUCTION_MARGIN * max_side)
    is_large = tf.reduce_max(size) > max_side
    choice = tf.reduce_sum(tf.cast(factor < tf.constant(_REDUCTIONS[:-1], tf.int64), tf.int32))
    return tf.switch_case(tf.where(is_large, choice, len(_REDUCTIONS) - 1), branches)


def _accurate(data: tf.Tensor, ratio: int) -> tf.Tensor:
    # Pillow decodes by the accurate transform, but TensorFlow's default is the fast one.
    return tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _recompressed(image: tf.Tensor) -> tf.Tensor:
    """Returns the image after JPEG compression, with the reader's parameters."""
    encoded = tf.io.encode_jpeg(
        image, format="rgb", quality=JPEG_QUALITY, chroma_downsampling=False
    )
    return decode(encoded)
