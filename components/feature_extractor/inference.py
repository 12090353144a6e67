"""Runs a frozen backbone in Beam's RunInference."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import PredictionResult

from components.feature_extractor.backbone import Backbone, Wanted


class FeatureModel(tf.Module):
    """Maps encoded images to the features of each view; weights are loaded from a file.

    The views share one network, and an image is decoded once for all of them.
    """

    def __init__(self, backbone: Backbone):
        """Builds the network, with random weights."""
        from components.trainer.bodies import seen_in

        super().__init__()
        self._preprocessing = backbone.preprocessing
        self._dtype = backbone.dtype
        self._network = backbone.build_with("none")
        pixels = tf.TensorSpec([None, *self._preprocessing.shape], tf.float32)
        # One function per view: in one for all, TensorFlow could run the views at the same time,
        # which takes the memory of all.
        self._of_view = [
            tf.function(
                partial(self._features, seen_in(self._network, backbone.image_size, (name,))),
                input_signature=[pixels],
            )
            for name in backbone.views
        ]

    def load_weights(self, path: str) -> None:
        """Loads weights that the `save_weights` of the backbone's network wrote."""
        self._network.load_weights(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def pixels(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the input, float32 (n, size, size, 3), of encoded images, string (n,)."""
        return self._preprocessing.batch(images)

    def of_view(self, view: int, pixels: tf.Tensor) -> np.ndarray:
        """Returns features (n, ...), of the backbone's type, of a view of decoded images."""
        features: np.ndarray = self._of_view[view](pixels).numpy()
        return features

    def _features(self, body: Any, pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(body(pixels, training=False), self._dtype)


def infer(
    model: FeatureModel, batch: Sequence[Wanted], inference_args: Any = None, model_id: Any = None
) -> list[PredictionResult]:
    """Returns the missing features of some images, by view, as Beam's handler requires."""
    pixels = model.pixels(tf.constant([image for image, _ in batch], tf.string))
    found: list[dict[int, np.ndarray]] = [{} for _ in batch]
    for view in sorted({view for _, views in batch for view in views}):
        rows = [row for row, (_, views) in enumerate(batch) if view in views]
        seen = pixels if len(rows) == len(batch) else tf.gather(pixels, rows)
        for row, features in zip(rows, model.of_view(view, seen), strict=True):
            found[row][view] = features
    # Without the images, which the next steps don't use.
    return [PredictionResult(example=None, inference=each, model_id=model_id) for each in found]
