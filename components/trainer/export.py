"""Exports a SavedModel from encoded images to probabilities, with the training preprocessing."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from components import names
from components.images import rules as reading
from components.images.rules import ReadingRules
from components.trainer.preprocessing import Preprocessing
from components.training_balance import ASSET_NAME, TrainingBalance

_IMAGES = tf.TensorSpec([None], tf.string, name="images")
_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


class ServedModel(tf.Module):
    """A Keras model with signatures for encoded images, tf.Examples of them, and features."""

    def __init__(
        self,
        model: keras.Model,
        rules: ReadingRules,
        asset_paths: Sequence[str],
        head: keras.Model | None = None,
    ):
        """Wraps the model.

        Args:
          model: maps float32 (n, size, size, 3) to probabilities (n, 1).
          rules: how the training images were read.
          asset_paths: files to be copied into the SavedModel.
          head: see `export`.
        """
        super().__init__()
        self._model = model
        self._rules = rules
        self._preprocessing = Preprocessing(rules.image_size, rules.pixel_range)
        self._assets = [tf.saved_model.Asset(path) for path in asset_paths]
        self.signatures_by_name = {
            names.SERVING_DEFAULT: self.predict_examples,
            names.PREDICT_IMAGES: self.predict_images,
        }
        if head is not None:
            features = tf.TensorSpec([None, *head.input_shape[1:]], tf.float32, name="features")
            self._head = head
            predict = tf.function(self._predict_features, input_signature=[features])
            self.signatures_by_name[names.PREDICT_FEATURES] = predict

    @tf.function(input_signature=[_IMAGES])
    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns probabilities, float32 (n, 1), of raw JPEGs, PNGs, GIFs and BMPs, string (n,).

        They are read by the rules; if one can't be read, the request fails with the reason.
        """
        return self._probability(self._preprocessing.raw_batch(images, self._rules))

    @tf.function(input_signature=[_EXAMPLES])
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns probabilities of serialized tf.Examples, string (n,), with stored images."""
        feature = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(examples, feature)[names.IMAGE]
        return self._probability(self._preprocessing.batch(images))

    def _predict_features(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns probabilities of the body's output."""
        return self._output(self._head(features, training=False))

    def _probability(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._output(self._model(pixels, training=False))

    @staticmethod
    def _output(probability: tf.Tensor) -> dict[str, tf.Tensor]:
        return {names.PROBABILITY: tf.cast(probability, tf.float32)}


def export(
    model: keras.Model,
    rules: ReadingRules,
    folder: str,
    *,
    balance: TrainingBalance | None = None,
    head: keras.Model | None = None,
) -> None:
    """Writes a SavedModel with the signatures `serving_default` and `predict_images`.

    With a head it also has `predict_features`, by which images whose features are stored are
    predicted without the body.

    Args:
      model: maps float32 (n, size, size, 3) to probabilities (n, 1).
      rules: how the training images were read; written to the assets.
      folder: folder of the SavedModel.
      balance: what training changed about the share of positives, written to the assets; None if
        it is unknown.
      head: the part of the model, with the same layers, that maps the frozen body's output
        (n, ...) to probabilities (n, 1); None if the body is not frozen, or not all of the model's
        features are stored in float32.
    """
    with tempfile.TemporaryDirectory() as assets:
        contents = {reading.ASSET_NAME: rules.to_json()}
        if balance is not None:
            contents[ASSET_NAME] = balance.to_json()
        paths = [Path(assets) / name for name in contents]
        for path in paths:
            path.write_text(contents[path.name], encoding="utf-8")
        served = ServedModel(model, rules, [str(path) for path in paths], head)
        tf.saved_model.save(served, folder, signatures=served.signatures_by_name)
