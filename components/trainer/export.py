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
    """A Keras model with two signatures, for encoded images and for tf.Examples of them."""

    def __init__(self, model: keras.Model, rules: ReadingRules, asset_paths: Sequence[str]):
        """Wraps the model.

        Args:
          model: maps float32 (n, size, size, 3) to probabilities (n, 1).
          rules: how the training images were read.
          asset_paths: files to be copied into the SavedModel.
        """
        super().__init__()
        self._model = model
        self._rules = rules
        self._preprocessing = Preprocessing(rules.image_size, rules.pixel_range)
        self._assets = [tf.saved_model.Asset(path) for path in asset_paths]

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

    def _probability(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = self._model(pixels, training=False)
        return {names.PROBABILITY: tf.cast(probability, tf.float32)}


def export(
    model: keras.Model,
    rules: ReadingRules,
    folder: str,
    *,
    balance: TrainingBalance | None = None,
) -> None:
    """Writes a SavedModel with the signatures `serving_default` and `predict_images`.

    Args:
      model: maps float32 (n, size, size, 3) to probabilities (n, 1).
      rules: how the training images were read; written to the assets.
      folder: folder of the SavedModel.
      balance: what training changed about the share of positives, written to the assets; None if
        it is unknown.
    """
    with tempfile.TemporaryDirectory() as assets:
        contents = {reading.ASSET_NAME: rules.to_json()}
        if balance is not None:
            contents[ASSET_NAME] = balance.to_json()
        paths = [Path(assets) / name for name in contents]
        for path in paths:
            path.write_text(contents[path.name], encoding="utf-8")
        served = ServedModel(model, rules, [str(path) for path in paths])
        signatures = {
            names.SERVING_DEFAULT: served.predict_examples,
            names.PREDICT_IMAGES: served.predict_images,
        }
        tf.saved_model.save(served, folder, signatures=signatures)
