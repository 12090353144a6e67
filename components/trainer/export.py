"""The SavedModel that serves: bytes in, probability out, by the preprocessing of training."""

import keras
import tensorflow as tf

from components import names
from components.trainer.preprocessing import Preprocessing

_IMAGES = tf.TensorSpec([None], tf.string, name="images")
_EXAMPLES = tf.TensorSpec([None], tf.string, name="examples")


class ServedModel(tf.Module):
    """A Keras model behind two signatures, for encoded images and for tf.Examples of them."""

    def __init__(self, model: keras.Model, preprocessing: Preprocessing):
        """Wraps the model.

        Args:
          model: float32 (n, size, size, 3) to probabilities (n, 1).
          preprocessing: what the model was trained with.
        """
        super().__init__()
        self._model = model
        self._preprocessing = preprocessing

    @tf.function(input_signature=[_IMAGES])
    def predict_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities, float32 (n, 1), of encoded images of any sizes, string (n,)."""
        pixels = self._preprocessing.batch(images)
        probability = self._model(pixels, training=False)
        return {names.PROBABILITY: tf.cast(probability, tf.float32)}

    @tf.function(input_signature=[_EXAMPLES])
    def predict_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same of serialized tf.Examples, string (n,), that hold the image."""
        feature = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return self.predict_images(tf.io.parse_example(examples, feature)[names.IMAGE])


def export(model: keras.Model, preprocessing: Preprocessing, folder: str) -> None:
    """Writes a SavedModel with the signatures `serving_default` and `predict_images`.

    Args:
      model: float32 (n, size, size, 3) to probabilities (n, 1).
      preprocessing: what the model was trained with.
      folder: where it is written.
    """
    served = ServedModel(model, preprocessing)
    signatures = {
        names.SERVING_DEFAULT: served.predict_examples,
        names.PREDICT_IMAGES: served.predict_images,
    }
    tf.saved_model.save(served, folder, signatures=signatures)
