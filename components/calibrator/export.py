"""The calibrated SavedModel: the trained model with a probability and a decision."""

import tempfile
from pathlib import Path

import tensorflow as tf

from components import names
from components.calibrator import graph
from components.calibrator.calibration import Calibration
from components.calibrator.operating_point import ASSET_NAME, OperatingPoint

_IMAGES = tf.TensorSpec([None], tf.string, name="images")
_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


class CalibratedModel(tf.Module):
    """A trained SavedModel whose two signatures return probability, score and decisions."""

    def __init__(
        self,
        trained: tf.Module,
        point: OperatingPoint,
        calibration: Calibration,
        asset_path: str,
    ):
        """Wraps the trained model.

        Args:
          trained: as returned by `tf.saved_model.load`.
          point: the operating point, on the probability.
          calibration: how a score becomes a probability.
          asset_path: a file with both, to be copied into the SavedModel.
        """
        super().__init__()
        self._trained = trained
        self._threshold = point.threshold
        self._review = point.review
        self._calibration = calibration
        self._asset = tf.saved_model.Asset(asset_path)

    @tf.function(input_signature=[_IMAGES])
    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for encoded images, string (n,)."""
        return self._calibrated(self._trained.signatures[names.PREDICT_IMAGES](images=images))

    @tf.function(input_signature=[_EXAMPLES])
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for serialized tf.Examples, string (n,)."""
        return self._calibrated(self._trained.signatures[names.SERVING_DEFAULT](examples=examples))

    def _calibrated(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        score = outputs[names.PROBABILITY]
        probability = graph.probability(score, self._calibration)
        exact = tf.cast(probability, tf.float64)
        return {
            names.PROBABILITY: probability,
            names.SCORE: score,
            names.IS_POSITIVE: tf.cast(exact >= self._threshold, tf.int64),
            names.NEEDS_REVIEW: tf.cast(self._needs_review(exact), tf.int64),
        }

    def _needs_review(self, probability: tf.Tensor) -> tf.Tensor:
        if self._review is None:
            return tf.zeros_like(probability, tf.bool)
        return (probability >= self._review["lower"]) & (probability < self._review["upper"])


def export(
    trained: tf.Module, point: OperatingPoint, calibration: Calibration, folder: str
) -> None:
    """Writes the calibrated SavedModel, with operating point and calibration as an asset.

    Args:
      trained: the Trainer's SavedModel, loaded.
      point: the operating point, on the probability.
      calibration: how a score becomes a probability.
      folder: where to write it.
    """
    with tempfile.TemporaryDirectory() as assets:
        asset = Path(assets) / ASSET_NAME
        asset.write_text(point.to_json(calibration.as_json()), encoding="utf-8")
        model = CalibratedModel(trained, point, calibration, str(asset))
        signatures = {
            names.SERVING_DEFAULT: model.predict_examples,
            names.PREDICT_IMAGES: model.predict_images,
        }
        tf.saved_model.save(model, folder, signatures=signatures)
