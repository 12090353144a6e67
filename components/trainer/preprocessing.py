"""Converts encoded bytes to a network's input; used both in training and in serving."""

from dataclasses import dataclass

import tensorflow as tf

from components.images import graph
from components.images.rules import ReadingRules


@dataclass(frozen=True)
class Preprocessing:
    """Decodes, resizes and scales an image; works eagerly, in tf.data and in a SavedModel.

    A change that gives other numbers for the same bytes requires a new version of
    `components.images.rules`, which a model records.

    Attributes:
      image_size: side in pixels of the square that the image is resized to; its aspect
        is not kept.
      pixel_range: values to which 0 and 255 are mapped.
    """

    image_size: int
    pixel_range: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (image_size, image_size, 3)."""
        return (self.image_size, self.image_size, 3)

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Returns the pixels of one image.

        Args:
          encoded: scalar string, the bytes of a JPEG or PNG of any size, as returned by the
            reader of `components.images`.

        Returns:
          float32 (image_size, image_size, 3), RGB, within `pixel_range`.
        """
        return self._scaled(graph.decode(encoded))

    def batch(self, encoded: tf.Tensor) -> tf.Tensor:
        """Maps images of any sizes, string (n,), to float32 (n, image_size, image_size, 3)."""
        return tf.map_fn(self, encoded, fn_output_signature=tf.TensorSpec(self.shape, tf.float32))

    def raw_batch(self, encoded: tf.Tensor, rules: ReadingRules) -> tf.Tensor:
        """Maps raw images like `batch` maps stored ones, see `components.images.graph.read`.

        Args:
          encoded: JPEGs, PNGs, GIFs and BMPs, string (n,).
          rules: how they are read.

        Raises:
          tf.errors.InvalidArgumentError: one can't be read as by the reader.
        """

        def scaled(numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            number, data = numbered
            name = tf.strings.join(["image ", tf.strings.as_string(number)])
            return self._scaled(graph.read(data, rules, name))

        numbers = tf.range(tf.shape(encoded)[0])
        signature = tf.TensorSpec(self.shape, tf.float32)
        return tf.map_fn(scaled, (numbers, encoded), fn_output_signature=signature)

    def _scaled(self, image: tf.Tensor) -> tf.Tensor:
        size = (self.image_size, self.image_size)
        low, high = self.pixel_range
        scaled = low + tf.image.resize(image, size, antialias=True) * ((high - low) / 255.0)
        return tf.ensure_shape(scaled, self.shape)
