"""The reader's rules as TensorFlow operations: a served model reads raw images by itself.

`read` gives the pixels that the network would see had the reader stored the image first. What
TensorFlow can't read as the reader does is refused, by what its bytes say, and never misread.
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
    """The pixels of a stored image, as training sees them.

    Args:
      data: a JPEG or PNG that the reader gave, string ().

    Returns:
      uint8 (height, width, 3).
    """
    # expand_animations=False gives the result a rank.
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def read(data: tf.Tensor, rules: ReadingRules, name: tf.Tensor) -> tf.Tensor:
    """The pixels of an image as it comes from a camera, a browser or a disk.

    A JPEG or PNG that the reader stores as it is, one that it gave among them, is decoded by
    `decode` alone.

    Args:
      data: a JPEG, PNG, GIF or BMP, string ().
      rules: how it is read.
      name: what a refusal calls it, string ().

    Returns:
      uint8 (height, width, 3).

    Raises:
      tf.errors.InvalidArgumentError: it is not decoded, or not as the reader would; the
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
        is_stored, lambda: decode(checked), lambda: _restored(checked, size, found, rules)
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


def _restored(data: tf.Tensor, size: tf.Tensor, found: Header, rules: ReadingRules) -> tf.Tensor:
    """What `decode` gives of the file that the reader would make of an image."""
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
    return tf.cond(kind == JPEG, lambda: _encoded_anew(upright), lambda: upright)


def _decoded_png(data: tf.Tensor, has_alpha: tf.Tensor) -> tf.Tensor:
    # Asked for an alpha channel that is not there, TensorFlow fills it with less than 255.
    return tf.cond(
        has_alpha,
        lambda: graph_pixels.flattened(tf.io.decode_png(data, channels=4)),
        lambda: tf.io.decode_png(data, channels=3),
    )


def _decoded_jpeg(data: tf.Tensor, size: tf.Tensor, max_side: int) -> tf.Tensor:
    """A JPEG at the reduced size at which the reader decodes it."""
    branches = [lambda ratio=ratio: _accurate(data, ratio) for ratio in _REDUCTIONS]
    if not max_side:
        return branches[-1]()
    room = tf.reduce_min(size) // (JPEG_REDUCTION_MARGIN * max_side)
    is_large = tf.reduce_max(size) > max_side
    choice = tf.reduce_sum(tf.cast(room < tf.constant(_REDUCTIONS[:-1], tf.int64), tf.int32))
    return tf.switch_case(tf.where(is_large, choice, len(_REDUCTIONS) - 1), branches)


def _accurate(data: tf.Tensor, ratio: int) -> tf.Tensor:
    # Pillow decodes by the accurate transform; TensorFlow's own choice is the fast one.
    return tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _encoded_anew(image: tf.Tensor) -> tf.Tensor:
    """An image as a JPEG of it shows it, encoded as the reader encodes."""
    encoded = tf.io.encode_jpeg(
        image, format="rgb", quality=JPEG_QUALITY, chroma_downsampling=False
    )
    return decode(encoded)
