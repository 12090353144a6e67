"""From encoded bytes to a network's input: the same function in training and in serving."""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Preprocessing:
    """Decodes, resizes and scales an image; works eagerly, in tf.data and in a SavedModel.

    Attributes:
      image_size: side in pixels of the square that the image is resized to; its aspect
        is not kept.
      pixel_range: what 0 and 255 become.
    """

    image_size: int
    pixel_range: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: (image_size, image_size, 3)."""
        return (self.image_size, self.image_size, 3)

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """One image.

        Args:
          encoded: scalar string, the bytes of a JPEG or PNG of any size.

        Returns:
          float32 (image_size, image_size, 3), RGB, within `pixel_range`.
        """
        # expand_animations=False gives the result a rank, which resize needs.
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        resized = tf.image.resize(image, (self.image_size, self.image_size))
        low, high = self.pixel_range
        scaled = low + resized * ((high - low) / 255.0)
        return tf.ensure_shape(scaled, self.shape)

    def batch(self, encoded: tf.Tensor) -> tf.Tensor:
        """Images of any sizes: string (n,) to float32 (n, image_size, image_size, 3)."""
        return tf.map_fn(self, encoded, fn_output_signature=tf.TensorSpec(self.shape, tf.float32))
