"""The calibrated SavedModel: the trained model with a probability and a decision."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from components import feature_records, names
from components.calibrator import graph
from components.calibrator.calibration import Calibration
from components.calibrator.operating_point import ASSET_NAME, OperatingPoint
from components.evaluator import spot_check

_IMAGES = tf.TensorSpec([None], tf.string, name="images")
_SIGNATURES = "signatures"
_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


class _Untracked:
    """The signatures of a loaded model, as an attribute that TensorFlow does not look into.

    The variables would have other names in the checkpoint with the model as an attribute.
    """

    def __init__(self, trained: tf.Module):
        self._trained = trained

    def __getitem__(self, name: str) -> Callable[..., dict[str, tf.Tensor]]:
        found: Callable[..., dict[str, tf.Tensor]] = self._trained.signatures[name]
        return found


class CalibratedModel(tf.Module):
    """A trained SavedModel whose signatures return probability, score and decisions."""

    def __init__(
        self,
        trained: tf.Module,
        point: OperatingPoint,
        calibration: Calibration,
        asset_paths: Sequence[str],
    ):
        """Wraps the trained model.

        Args:
          trained: as returned by `tf.saved_model.load`.
          point: the operating point, on the probability.
          calibration: how a score becomes a probability.
          asset_paths: files to be copied into the SavedModel.
        """
        super().__init__()
        self._signatures = _Untracked(trained)
        self._threshold = point.threshold
        self._review = point.review
        self._calibration = calibration
        self._own_assets = [tf.saved_model.Asset(path) for path in asset_paths]
        self.signatures_by_name = {
            names.SERVING_DEFAULT: self.predict_examples,
            names.PREDICT_IMAGES: self.predict_images,
        }
        if on_features := trained.signatures.get(names.PREDICT_FEATURES):
            spec = on_features.structured_input_signature[1]["features"]
            predict = tf.function(self._predict_features, input_signature=[spec])
            self.signatures_by_name[names.PREDICT_FEATURES] = predict
        # The parts of the trained model have the same names here, and so have its variables.
        for name, part in tf.train.TrackableView(trained).children(trained).items():
            if name != _SIGNATURES and not hasattr(self, name):
                setattr(self, name, part)

    @tf.function(input_signature=[_IMAGES])
    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for encoded images, string (n,)."""
        return self._calibrated(self._signatures[names.PREDICT_IMAGES](images=images))

    @tf.function(input_signature=[_EXAMPLES])
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for serialized tf.Examples, string (n,)."""
        return self._calibrated(self._signatures[names.SERVING_DEFAULT](examples=examples))

    def _predict_features(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs, and whether rounding may change the decision."""
        outputs = self._signatures[names.PREDICT_FEATURES](features=features)
        score = outputs[names.PROBABILITY]
        ends = [
            self._calibrated_score(tf.clip_by_value(score + change, 0.0, 1.0))
            for change in (-spot_check.TOLERANCE, spot_check.TOLERANCE)
        ]
        changes = [
            tf.not_equal(ends[0][name], ends[1][name])
            for name in (names.IS_POSITIVE, names.NEEDS_REVIEW)
        ]
        near = tf.cast(tf.logical_or(*changes), tf.int64)
        return {**self._calibrated_score(score), names.NEAR_THRESHOLD: near}

    def _calibrated(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._calibrated_score(outputs[names.PROBABILITY])

    def _calibrated_score(self, score: tf.Tensor) -> dict[str, tf.Tensor]:
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
    trained: tf.Module,
    point: OperatingPoint,
    calibration: Calibration,
    folder: str,
    *,
    features_key: str = "",
) -> None:
    """Writes the calibrated SavedModel, with operating point and calibration as an asset.

    If the trained model has a signature for its backbone's features, so has this one.

    Args:
      trained: the Trainer's SavedModel, loaded.
      point: the operating point, on the probability.
      calibration: how a score becomes a probability.
      folder: where to write it.
      features_key: the key of these features, another asset; empty if it has no such signature.
    """
    with tempfile.TemporaryDirectory() as assets:
        contents = {ASSET_NAME: point.to_json(calibration.as_json())}
        if features_key:
            contents[feature_records.KEY_FILE] = feature_records.key_text(features_key)
        paths = [Path(assets) / name for name in contents]
        for path in paths:
            path.write_text(contents[path.name], encoding="utf-8")
        model = CalibratedModel(trained, point, calibration, [str(path) for path in paths])
        tf.saved_model.save(model, folder, signatures=model.signatures_by_name)
