"""Runs a frozen backbone in Beam's RunInference."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from apache_beam.ml.inference.base import PredictionResult

from components.feature_extractor.backbone import Backbone


class FeatureModel(tf.Module):
    """Maps encoded images to features; weights are loaded from a file of the body."""

    def __init__(self, backbone: Backbone):
        """Builds the network, with random weights."""
        super().__init__()
        self._preprocessing = backbone.preprocessing
        self._dtype = backbone.dtype
        self._body = backbone.build_with("none")

    def load_weights(self, path: str) -> None:
        """Loads weights that the body's `save_weights` wrote."""
        self._body.load_weights(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Returns features (n, ...), of the backbone's type, of encoded images, string (n,)."""
        pixels = self._preprocessing.batch(images)
        return tf.cast(self._body(pixels, training=False), self._dtype)


def infer(
    model: FeatureModel, batch: Sequence[bytes], inference_args: Any = None, model_id: Any = None
) -> list[PredictionResult]:
    """Returns features of a batch of encoded images, as Beam's TensorFlow handler requires."""
    features = model(tf.constant(list(batch), tf.string)).numpy()
    # Without the images, which the next steps don't use.
    return [PredictionResult(example=None, inference=row, model_id=model_id) for row in features]
