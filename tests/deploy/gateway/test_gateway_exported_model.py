"""An exported model behind the gateway predicts the same as `outnumbered predict` on raw files."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from gateway_under_test import running
from images_of_each_kind import IMAGES
from serving_stand_in import StandIn

from components.calibrator import operating_point
from components.calibrator.calibration import calibrate
from components.calibrator.export import export as export_calibrated
from components.calibrator.operating_point import Review
from components.images.rules import ReadingRules
from components.trainer.export import export
from components.training_balance import TrainingBalance
from pipeline.predict import predict

OUTPUTS = ("probability", "is_positive", "score", "needs_review")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with one calibrated model whose probabilities depend on every pixel."""
    folder = tmp_path_factory.mktemp("registry")
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 5, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    rules = ReadingRules(image_size=32, pixel_range=(0.0, 1.0), max_side=40)
    export(model, rules, str(folder / "trained"))
    trained = tf.saved_model.load(str(folder / "trained"))
    scores = trained.signatures["predict_images"](images=tf.constant([IMAGES["jpeg"]]))
    labels = np.array([0, 1])
    balance = TrainingBalance(positive_images=1, negative_images=1)
    calibration = calibrate(np.array([0.3, 0.6]), labels, prevalence=0.1, balance=balance)
    # The threshold separates the images.
    threshold = float(calibration.probabilities(scores["probability"][0])[0])
    point = operating_point.choose(labels, labels, rule="fixed", threshold=threshold)
    point = replace(point, review=Review(share=0.1, lower=threshold, upper=threshold + 1e-4))
    export_calibrated(trained, point, calibration, str(folder / "1"))
    return folder


def test_predictions_for_raw_files_equal_those_of_outnumbered_predict(registry, tmp_path):
    signature = tf.saved_model.load(str(registry / "1")).signatures["predict_images"]

    def served(images):
        outputs = signature(images=tf.constant(images))
        return [outputs[name].numpy() for name in OUTPUTS]

    files = [tmp_path / str(number) for number in range(len(IMAGES))]
    for path, data in zip(files, IMAGES.values(), strict=True):
        path.write_bytes(data)
    expected = list(predict(registry / "1", files))
    stand_in = StandIn()
    stand_in.model = served
    stand_in.start()
    with running(registry, stand_in.target) as client:
        found = [client.post("/predict", data).json for data in IMAGES.values()]
    stand_in.stop()
    for kind, response, row in zip(IMAGES, found, expected, strict=True):
        assert response["probability"] == pytest.approx(row.probability, abs=1e-6), kind
        assert response["is_positive"] == row.is_positive, kind
        assert response["needs_review"] == row.needs_review, kind
        assert response["score"] == pytest.approx(row.score, abs=1e-6), kind
        assert abs(response["score"] - response["probability"]) > 0.05, kind
    assert len({row.probability for row in expected}) == len(expected)
    assert {row.is_positive for row in expected} == {True, False}
    assert {row.needs_review for row in expected} == {True, False}
