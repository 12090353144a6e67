"""Runs a pushed or calibrated SavedModel on batches of images."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from components import names

OUTPUTS = {
    names.PROBABILITY: np.float32,
    names.SCORE: np.float32,
    names.IS_POSITIVE: np.int64,
    names.NEEDS_REVIEW: np.int64,
}
"""What a model gives for each image, and the type of each."""


class ServedModel:
    """A SavedModel's `serving_default`, which returns a probability and a decision.

    Attributes:
      outputs: names of the outputs that the model itself has.
      takes_features: whether the model can be given its backbone's features instead of images.
    """

    def __init__(self, folder: str):
        """Loads the model.

        Raises:
          ValueError: the signature or one of its outputs is missing.
        """
        # The loaded object owns the variables: it must live as long as the signature.
        self._loaded = tf.saved_model.load(folder)
        signatures = self._loaded.signatures
        if names.SERVING_DEFAULT not in signatures:
            raise ValueError(
                f"the model in {folder} must have a signature {names.SERVING_DEFAULT!r}. "
                f"Received: {sorted(signatures)}"
            )
        self._signature = signatures[names.SERVING_DEFAULT]
        outputs = set(self._signature.structured_outputs)
        if missing := {names.PROBABILITY, names.IS_POSITIVE} - outputs:
            raise ValueError(
                f"the model in {folder} must also return {sorted(missing)}; evaluate the "
                f"Calibrator's model. Received: {sorted(outputs)}"
            )
        (self._input_name,) = self._signature.structured_input_signature[1]
        self.outputs = frozenset(outputs)
        self.takes_features = names.PREDICT_FEATURES in signatures

    def __call__(self, examples: tf.Tensor) -> dict[str, np.ndarray]:
        """Returns the outputs by name, (n,): float32, and int64 for the decisions.

        A model of an earlier version has no score and no review band: its probability is the
        score, and no image needs a review.

        Args:
          examples: serialized tf.Examples, string (n,).
        """
        outputs = self._signature(**{self._input_name: examples})
        no_review = tf.zeros_like(outputs[names.IS_POSITIVE])
        outputs = {
            names.SCORE: outputs[names.PROBABILITY],
            names.NEEDS_REVIEW: no_review,
            **outputs,
        }
        return {
            name: outputs[name].numpy().reshape(-1).astype(kind) for name, kind in OUTPUTS.items()
        }

    def on_features(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs, as a call does, and `near_threshold`, int64 (n,).

        Only if the model `takes_features`.

        Args:
          features: float32 (n, ...), of the model's own backbone.
        """
        signature = self._loaded.signatures[names.PREDICT_FEATURES]
        outputs = signature(features=tf.constant(features))
        kinds = {**OUTPUTS, names.NEAR_THRESHOLD: np.int64}
        return {
            name: outputs[name].numpy().reshape(-1).astype(kind) for name, kind in kinds.items()
        }

    def predict_stored(self, images: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Returns the outputs, as a call does, for images as ingestion stores them.

        Args:
          images: at least one.
        """
        return self(tf.constant([_example(image) for image in images]))


def check_finite(probability: np.ndarray, images: Sequence[str]) -> None:
    """Refuses NaN, which would silently count as negative, and infinity.

    Args:
      probability: (n,).
      images: the name of each, for the message.

    Raises:
      ValueError: a probability is not finite.
    """
    bad = ~np.isfinite(probability)
    if bad.any():
        raise ValueError(
            "probabilities must be finite: the model has diverged; train again with a lower "
            f"learning rate. Received: {probability[bad][0]} for image "
            f"{images[int(np.argmax(bad))]}"
        )


def _example(image: bytes) -> bytes:
    """Returns a serialized tf.Example of a stored image."""
    example = tf.train.Example()
    example.features.feature[names.IMAGE].bytes_list.value.append(image)
    return bytes(example.SerializeToString())
