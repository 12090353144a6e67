"""A served model without a network."""

import tempfile
from pathlib import Path

import tensorflow as tf

from components.images.rules import ReadingRules


class MeanBrightness(tf.Module):
    """A served model whose probability is the brightness of the first pixel, and its score half."""

    def __init__(self, rules: Path, *, has_score: bool):
        super().__init__()
        self._has_score = has_score
        self._asset = tf.saved_model.Asset(str(rules))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def predict_examples(self, examples):
        feature = {"image": tf.io.FixedLenFeature([], tf.string)}
        images = tf.io.parse_example(examples, feature)["image"]
        first = tf.map_fn(
            lambda data: tf.cast(tf.io.decode_image(data, 3)[0, 0, :1], tf.float32) / 255,
            images,
            fn_output_signature=tf.TensorSpec([1], tf.float32),
        )
        outputs = {"probability": first, "is_positive": tf.cast(first >= 0.5, tf.int64)}
        if not self._has_score:
            return outputs
        review = tf.cast((first > 0.4) & (first < 0.6), tf.int64)
        return {**outputs, "score": first / 2, "needs_review": review}


def save_brightness_model(folder: Path, *, has_score: bool = True) -> Path:
    """Saves the model in a folder, and returns the folder."""
    reading = ReadingRules(image_size=4, pixel_range=(0.0, 1.0), max_side=8, max_pixels=100)
    with tempfile.TemporaryDirectory() as assets:
        rules = Path(assets) / "reading_rules.json"
        rules.write_text(reading.to_json())
        module = MeanBrightness(rules, has_score=has_score)
        signatures = {"serving_default": module.predict_examples}
        tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder
