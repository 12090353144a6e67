"""Runs a champion, whatever its image size and classes, by its own signature for encoded images."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components import feature_records, names
from components.champion_finder import comparability
from components.evaluator import metrics

_logger = logging.getLogger("outnumbered.evaluator")


def is_same_model(challenger: str, champion: str) -> bool:
    """Returns whether every file of the challenger's SavedModel is in the champion's, unchanged."""
    first, second = Path(challenger), Path(champion)
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    return all(
        (second / name).is_file() and (first / name).read_bytes() == (second / name).read_bytes()
        for name in files
        if name.parent != Path() or name.suffix != ".json"  # lists of files and records
    )


class ChampionModel:
    """A champion's `predict_images`, with its own threshold.

    One with the challenger's backbone can also be given the features of images.

    A champion that can't be loaded or can't predict some images doesn't fail the run of the
    challenger: its probability is NaN then, and the log has the error.
    """

    def __init__(self, folder: str, features_key: str = ""):
        """Loads the model; raises as `comparability.threshold`.

        Args:
          folder: of the SavedModel.
          features_key: the key of the features that the images have; empty if they have none.
        """
        self._threshold = comparability.threshold(folder)
        # The loaded object owns the variables: it must live as long as the signature.
        self._loaded: Any = None
        self._signature = None
        try:
            self._loaded = tf.saved_model.load(folder)
            self._signature = self._loaded.signatures[names.PREDICT_IMAGES]
        except Exception as error:  # TensorFlow raises many kinds, as for an unknown operation
            _logger.warning("the champion can't be loaded: %s", error)
        has_signature = names.PREDICT_FEATURES in getattr(self._loaded, "signatures", {})
        same_key = features_key and feature_records.key_of_model(folder) == features_key
        self.takes_features = bool(has_signature and same_key)
        """Whether it can be given the features instead of the images."""

    def __call__(self, images: tf.Tensor) -> dict[str, np.ndarray]:
        """Returns `champion_probability`, float32 (n,), and `champion_is_positive`, int64 (n,).

        Args:
          images: encoded images, string (n,).
        """
        return self._columns(self._probability(images))

    def on_features(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the same of features (n, ...), and `near_threshold`, int64 (n,).

        Only if it `takes_features`.
        """
        outputs = self._loaded.signatures[names.PREDICT_FEATURES](features=tf.constant(features))
        flat = {name: values.numpy().reshape(-1) for name, values in outputs.items()}
        columns = self._columns(flat[names.PROBABILITY])
        return {**columns, names.NEAR_THRESHOLD: flat[names.NEAR_THRESHOLD]}

    def _columns(self, probability: np.ndarray) -> dict[str, np.ndarray]:
        called = metrics.is_positive(probability, self._threshold)
        return {
            names.CHAMPION_PROBABILITY: probability,
            names.CHAMPION_IS_POSITIVE: called.astype(np.int64),
        }

    def _probability(self, images: tf.Tensor) -> np.ndarray:
        unknown = np.full(len(images), np.nan, np.float32)
        if self._signature is None:
            return unknown
        (input_name,) = self._signature.structured_input_signature[1]
        try:
            outputs = self._signature(**{input_name: images})
        except tf.errors.OpError as error:
            _logger.warning("the champion can't predict a batch: %s", error.message)
            return unknown
        return outputs[names.PROBABILITY].numpy().reshape(-1).astype(np.float32)
