"""The Evaluator with features of a frozen backbone: what it predicts from them, and what not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from evaluation_on_disk import Evaluation, Row, TextModel, some_rows, write_examples
from featured import write_featured

from components import feature_records, names
from components.evaluator import champion_record, predictions, spot_check
from components.registry import open_registry
from components.registry.record import VersionRecord

THRESHOLD = 0.48
KEY = "key of the backbone"


class FrozenModel(TextModel):
    """A calibrated model that takes a probability as text, or as its only feature."""

    def __init__(self, threshold: float, point: Path, key: Path, scale: float):
        super().__init__(threshold, point)
        self._key = tf.saved_model.Asset(str(key))
        self._scale = scale

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="features")])
    def predict_features(self, features):
        probability = features * self._scale
        return {
            names.PROBABILITY: probability,
            names.SCORE: tf.sqrt(probability),
            names.IS_POSITIVE: tf.cast(probability >= self._threshold, tf.int64),
            names.NEEDS_REVIEW: tf.zeros_like(probability, tf.int64),
            names.NEAR_THRESHOLD: tf.cast(abs(probability - self._threshold) < 0.001, tf.int64),
        }


def save_frozen(folder: Path, *, threshold: float = THRESHOLD, key: str = KEY, scale: float = 1):
    folder.parent.mkdir(parents=True, exist_ok=True)
    point = folder.parent / "operating_point.json"
    point.write_text(json.dumps({"threshold": threshold, "rule": "best_f1"}))
    asset = folder.parent / feature_records.KEY_FILE
    asset.write_text(feature_records.key_text(key))
    model = FrozenModel(threshold, point, asset, scale)
    signatures = {
        names.SERVING_DEFAULT: model.predict_examples.get_concrete_function(),
        names.PREDICT_IMAGES: model.predict_images.get_concrete_function(),
        names.PREDICT_FEATURES: model.predict_features.get_concrete_function(),
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder


def registry_of(root: Path, model: Path) -> str:
    registry = open_registry(root / "registry")
    registry.push(model, lambda number: VersionRecord(version=number, blessed=True))
    return str(root / "registry")


def change_of_features(change: float):
    """Features of an image that give a probability which is higher by `change`."""
    return lambda image: np.array([float(image) + change], np.float32)


def evaluate(root: Path, *, change: float = 1e-4, rows: list[Row] | None = None, **changes):
    rows = [replace(row, probability=max(row.probability, 0.05)) for row in rows or some_rows()]
    write_examples(root / "images", rows)
    featured = write_featured(
        root / "images", root / "featured", change_of_features(change), key=KEY
    )
    evaluation = Evaluation(
        root=root / "run", rows=rows, threshold=THRESHOLD, featured=featured, **changes
    )
    if not evaluation.serving_dir.exists():
        save_frozen(evaluation.serving_dir)
    return evaluation.prepare().run()


def changes_of(evaluation: Evaluation) -> pd.Series:
    """By how much each probability is higher than that of the image."""
    found = predictions.read(evaluation.predictions.uri).set_index("uri")
    expected = {f"photos/bild ü {index}.jpg": row for index, row in enumerate(evaluation.rows)}
    values = pd.Series({uri: np.float32(row.probability) for uri, row in expected.items()})
    return (found["probability"] - values).astype(float)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    rows = [*some_rows(), Row(1, THRESHOLD + 2e-4, some_rows()[0].columns, {"brightness": 10.0})]
    return evaluate(tmp_path_factory.mktemp("frozen"), rows=rows)


def test_most_images_are_predicted_from_their_features(evaluated):
    changes = changes_of(evaluated)
    from_features = np.isclose(changes, 1e-4, atol=1e-6)
    from_images = np.isclose(changes, 0, atol=1e-7)
    assert (from_features | from_images).all()
    # A third of the sample of each of three files, and the images next to the threshold.
    assert spot_check.SAMPLE <= from_images.sum() <= spot_check.SAMPLE + 20


def test_an_image_whose_decision_may_depend_on_rounding_is_predicted_from_the_image(evaluated):
    found = predictions.read(evaluated.predictions.uri)
    near = found[np.abs(found["probability"] - THRESHOLD) < 0.0009]
    assert len(near) >= 1
    changes = changes_of(evaluated)
    assert (np.abs(changes[near["uri"]]) < 1e-7).all()


def test_features_with_other_scores_than_the_images_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"the model must give the same score .* for image 0"):
        evaluate(tmp_path, change=0.02)


def test_a_model_of_another_backbone_is_run_on_the_images(tmp_path):
    save_frozen(tmp_path / "run/model/Format-Serving", key="another")
    changes = changes_of(evaluate(tmp_path, change=0.02))
    assert (np.abs(changes) < 1e-7).all()


def champion_changes(evaluation: Evaluation) -> np.ndarray:
    """By how much the champion's probability is higher than that of the image."""
    found = predictions.read(evaluation.predictions.uri).set_index("uri")
    values = {f"photos/bild ü {i}.jpg": row.probability for i, row in enumerate(evaluation.rows)}
    return (found[names.CHAMPION_PROBABILITY] - pd.Series(values)).to_numpy(float)


def test_a_champion_with_the_same_backbone_is_given_the_features_too(tmp_path):
    registry = registry_of(tmp_path, save_frozen(tmp_path / "champion/model", threshold=0.3))
    evaluation = evaluate(tmp_path, champion=registry)
    changes = champion_changes(evaluation)
    assert np.isclose(changes, 1e-4, atol=1e-6).sum() > 300
    assert np.isclose(changes, 0, atol=1e-7).sum() >= spot_check.SAMPLE
    assert champion_record.read(evaluation.evaluation.uri)["state"] == "compared"


@pytest.mark.parametrize("differs", [{"key": "another"}, {"scale": 0.9}])
def test_another_champion_is_run_on_every_image(tmp_path, differs):
    champion = save_frozen(tmp_path / "champion/model", threshold=0.3, **differs)
    evaluation = evaluate(tmp_path, champion=registry_of(tmp_path, champion))
    assert (np.abs(champion_changes(evaluation)) < 1e-7).all()
    # The challenger is not affected.
    assert np.isclose(changes_of(evaluation), 1e-4, atol=1e-6).sum() > 300
