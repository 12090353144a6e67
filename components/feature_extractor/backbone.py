"""The frozen backbone: what it is, what identifies it, and how it runs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import PredictionResult

from components.trainer.models import xception_body
from components.trainer.preprocessing import Preprocessing
from components.trainer.settings import PIXEL_RANGES


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Xception without its classifier, and how images are made ready for it.

    Attributes:
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file.
      pooled: whether the last feature map is averaged over the image.
      image_size: side in pixels of the square that every image is resized to.
      input_scale: range of the pixels that it sees, `0..1` or `-1..1`.
    """

    weights: str
    pooled: bool
    image_size: int
    input_scale: str

    @property
    def preprocessing(self) -> Preprocessing:
        """What makes its input of encoded bytes."""
        return Preprocessing(self.image_size, PIXEL_RANGES[self.input_scale])

    def build(self) -> keras.Model:
        """The network; random weights are the same every time.

        Raises:
          FileNotFoundError: the path of the weights does not exist.
          ValueError: the file does not fit the network.
          ConnectionError: the weights could not be downloaded.
        """
        keras.utils.set_random_seed(0)
        return xception_body(self.image_size, self.weights, pooled=self.pooled)

    def key(self, body: keras.Model) -> str:
        """What features depend on beside the image, as 32 hex digits.

        It is made of the weights themselves, not of their file's name: features of other
        weights are never taken for those of these.
        """
        digest = hashlib.sha256()
        about = ["xception", self.pooled, self.image_size, self.input_scale, "float16"]
        digest.update(json.dumps(about).encode())
        for array in body.get_weights():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]


class FeatureModel(tf.Module):
    """Encoded images in, float16 features out; its weights come from a file of the body's."""

    def __init__(self, backbone: Backbone):
        """Builds the network, with random weights."""
        super().__init__()
        self._preprocessing = backbone.preprocessing
        self._body = xception_body(backbone.image_size, "none", pooled=backbone.pooled)

    def load_weights(self, path: str) -> None:
        """Replaces the weights by those that the body's `save_weights` wrote."""
        self._body.load_weights(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Features, float16 (n, ...), of encoded images, string (n,)."""
        pixels = self._preprocessing.batch(images)
        return tf.cast(self._body(pixels, training=False), tf.float16)


def infer(
    model: FeatureModel, batch: Sequence[bytes], inference_args: Any = None, model_id: Any = None
) -> list[PredictionResult]:
    """Features of a batch of encoded images, as Beam's TensorFlow handler asks for them."""
    features = model(tf.constant(list(batch), tf.string)).numpy()
    # The images have done their part: what goes on need not carry them.
    return [PredictionResult(example=None, inference=row, model_id=model_id) for row in features]
