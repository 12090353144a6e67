import io
import json
import logging
import re
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import tensorflow as tf
from featured import write_featured
from listed import listed
from PIL import Image
from tfx.types import channel_utils, standard_artifacts

from components import artifact_files, artifacts, feature_records, training_balance
from components.artifact_files import DamagedArtifactError
from components.calibrator import calibration, operating_point
from components.calibrator.component import Calibrator
from components.calibrator.executor import Executor
from components.evaluator import predictions
from components.evaluator.spot_check import UnequalScoresError
from components.example_files import shard_name
from components.imbalance_sampler import report as sampling_report

LABELS = [1, 1, 0, 1, 0, 0, 0, 0]
FEW = (
    "only 3 positive images were available for the choice, so what it will give is very uncertain; "
    "add positive images to the split"
)


def _artifact(kind: type, uri: Path):
    artifact = kind()
    artifact.uri = str(uri)
    return artifact


@pytest.fixture
def calibrate(trained_model, tmp_path):
    """Runs the executor on an Examples folder; returns the calibrated serving folder."""

    def run(
        examples: Path,
        *,
        model: Path = trained_model,
        prevalence: float = 3 / 8,
        featured: Path | None = None,
        **changes,
    ) -> str:
        report = {"population": {"prevalence": prevalence}}
        sampling_report.write(report, str(tmp_path / "sampling"))
        features = featured and [_artifact(standard_artifacts.Examples, featured)]
        settings = {"calibration": "none", "rule": "best_f1", "beta": None, "costs": None}
        Executor().Do(
            listed(
                {
                    "model": [_artifact(standard_artifacts.Model, model)],
                    "examples": [_artifact(standard_artifacts.Examples, examples)],
                    "sampling": [_artifact(artifacts.Sampling, tmp_path / "sampling")],
                    **({"featured_examples": features} if features else {}),
                }
            ),
            {
                "calibrated_model": [_artifact(standard_artifacts.Model, tmp_path / "out")],
                "val_predictions": [_artifact(artifacts.Predictions, tmp_path / "predictions")],
            },
            {"settings": json.dumps({**settings, **changes}), "split": "val"},
        )
        return str(tmp_path / "out/Format-Serving")

    return run


def test_the_variables_of_the_trained_model_are_not_written_a_second_time(
    calibrate, write_examples, records, frozen_model
):
    serving = Path(calibrate(write_examples(records), model=frozen_model))
    original = frozen_model / "Format-Serving"
    names = sorted(path.name for path in (original / "variables").iterdir())
    assert sorted(path.name for path in (serving / "variables").iterdir()) == names
    for name in names:
        assert (serving / "variables" / name).samefile(original / "variables" / name)
    artifact_files.check(str(serving))
    # As TensorFlow Serving loads it: the variables by the names in the graph.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(serving))
        signature = loaded.signature_def["serving_default"]
        (given,) = signature.inputs.values()
        scores = session.run(signature.outputs["score"].name, {given.name: records})
    served = tf.saved_model.load(str(original)).signatures["serving_default"]
    expected = served(examples=tf.constant(records))["probability"]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_without_a_calibration_both_signatures_return_the_score_as_the_probability(
    calibrate, write_examples, records, images
):
    served = tf.saved_model.load(calibrate(write_examples(records))).signatures
    expected = np.array([242, 217, 191, 166, 89, 64, 38, 13])[:, None] / 255
    for outputs in (
        served["serving_default"](examples=tf.constant(records)),
        served["predict_images"](images=tf.constant(images)),
    ):
        assert set(outputs) == {"probability", "score", "is_positive", "needs_review"}
        np.testing.assert_array_equal(outputs["score"], outputs["probability"])
        np.testing.assert_allclose(outputs["probability"], expected, atol=1e-5)
        assert outputs["probability"].dtype == tf.float32
        assert outputs["is_positive"].dtype == outputs["needs_review"].dtype == tf.int64
        np.testing.assert_array_equal(outputs["needs_review"], [[0]] * 8)
        np.testing.assert_array_equal(outputs["is_positive"], [[1]] * 4 + [[0]] * 4)


def test_both_signatures_return_the_calibrated_probability_and_the_score(
    calibrate, balanced_model, write_examples, records, images
):
    serving = calibrate(write_examples(records), model=balanced_model, prevalence=0.1)
    found = operating_point.read(serving)["calibration"]
    assert found["prior_shift"] == {"focal_gamma": 2.0, "shift": pytest.approx(-np.log(9))}
    served = tf.saved_model.load(serving).signatures
    expected = calibration.calibrate(
        np.array([242, 217, 191, 166, 89, 64, 38, 13]) / 255,
        [1, 1, 0, 1, 0, 0, 0, 0],
        prevalence=0.1,
        balance=training_balance.read(f"{balanced_model}/Format-Serving"),
    )
    for outputs in (
        served["serving_default"](examples=tf.constant(records)),
        served["predict_images"](images=tf.constant(images)),
    ):
        scores = outputs["score"].numpy()
        assert outputs["score"].dtype == outputs["probability"].dtype == tf.float32
        probabilities = expected.probabilities(scores[:, 0])[:, None]
        np.testing.assert_allclose(outputs["probability"], probabilities, atol=1e-5)
        assert np.abs(outputs["probability"] - scores).max() > 0.1


def test_both_signatures_send_the_images_of_the_review_band_to_a_person(
    calibrate, write_examples, records, images
):
    costs = {"missed": 5, "false_alarm": 1}
    serving = calibrate(write_examples(records), rule="expected_cost", costs=costs, review=0.3)
    point = operating_point.read(serving)
    assert (point["costs"], point["review"]["share"]) == (costs, 0.3)
    served = tf.saved_model.load(serving).signatures
    for outputs in (
        served["serving_default"](examples=tf.constant(records)),
        served["predict_images"](images=tf.constant(images)),
    ):
        probability = outputs["probability"].numpy().astype(float)
        lower, upper = point["review"]["lower"], point["review"]["upper"]
        expected = (probability >= lower) & (probability < upper)
        np.testing.assert_array_equal(outputs["needs_review"], expected)
        np.testing.assert_array_equal(outputs["is_positive"], probability >= point["threshold"])
        assert 0 < expected.mean() <= 0.3


def test_a_rule_that_no_threshold_reaches_is_refused_with_the_best(
    calibrate, write_examples, records
):
    message = (
        "no operating point on split 'val': no threshold of this model with an alert keeps to "
        r"calibrator\.alerts: the fewest alerts are 125 per 1,000 images"
    )
    with pytest.raises(ValueError, match=message):
        calibrate(write_examples(records), rule="alerts_per_thousand", alerts=10)


def test_the_training_balance_stays_among_the_assets(
    calibrate, balanced_model, write_examples, records
):
    serving = calibrate(write_examples(records), model=balanced_model)
    trained = training_balance.read(f"{balanced_model}/Format-Serving")
    assert training_balance.read(serving) == trained


def test_the_operating_point_is_among_the_assets(calibrate, write_examples, records):
    serving = calibrate(write_examples(records), prevalence=0.1, rule="fixed", threshold=0.5)
    point = operating_point.read(serving)
    # Each of the five negatives represents 27 / 5.
    precision = 3 / (3 + 27 / 5)
    assert point == {
        "threshold": 0.5,
        "rule": "fixed",
        **dict.fromkeys(["beta", "precision_floor", "recall_floor", "alerts", "costs", "review"]),
        "prevalence": 0.1,
        "precision": pytest.approx(precision),
        "precision_interval": [pytest.approx(0.15, abs=0.1), pytest.approx(0.9, abs=0.1)],
        "recall": 1.0,
        "f1": pytest.approx(2 * precision / (1 + precision)),
        "positives": 3,
        "negatives": 5,
        "own_balance": {"prevalence": 3 / 8, "precision": 0.75, "f1": pytest.approx(6 / 7)},
        "promised": ANY,
        "remarks": [
            "each of the 5 negative images represents 5.4 of the population, so few images "
            "determine the false positive rate; draw the split at the population's balance",
            FEW,
        ],
        "calibration": {
            "description": "the probability is the model's score",
            "requested": "none",
            "prior_shift": {"focal_gamma": 0.0, "shift": 0.0},
            "map": {"name": "none", "low": 1.0, "high": 1.0, "intercept": 0.0, "knots": []},
            "prevalence": 0.1,
            "positives": 3,
            "negatives": 5,
            "cross_validation": [],
            "remarks": [calibration.NO_BALANCE],
        },
    }
    # The threshold is fixed, so nothing was chosen on these images.
    assert point["promised"]["precision"] == pytest.approx(precision)


def test_a_probability_at_the_threshold_is_positive(
    calibrate, trained_model, write_examples, records, images
):
    trained = tf.saved_model.load(f"{trained_model}/Format-Serving").signatures["predict_images"]
    scores = trained(images=tf.constant(images))["probability"].numpy()
    serving = calibrate(write_examples(records), rule="fixed", threshold=float(scores[5, 0]))
    served = tf.saved_model.load(serving).signatures["predict_images"]
    verdicts = served(images=tf.constant(images))["is_positive"]
    np.testing.assert_array_equal(verdicts, [[1]] * 6 + [[0]] * 2)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([2, 4, 5], "no operating point on split 'val': .* 0 positive and 3 negative"),
        ([0, 1, 3], "no operating point on split 'val': .* 3 positive and 0 negative"),
    ],
)
def test_a_split_of_one_side_is_refused(calibrate, write_examples, records, chosen, message):
    with pytest.raises(ValueError, match=message):
        calibrate(write_examples([records[index] for index in chosen]))


def test_a_split_that_does_not_exist_is_refused(calibrate, write_examples, records):
    with pytest.raises(FileNotFoundError, match="no shard of split 'val'"):
        calibrate(write_examples(records, split="train"))


def test_a_split_with_a_missing_shard_is_refused(calibrate, write_examples, records):
    examples = write_examples(records)
    (examples / "Split-val" / shard_name(1, 2)).unlink()
    with pytest.raises(DamagedArtifactError, match="00001-of-00002 is missing, with 4 records"):
        calibrate(examples)


def test_the_predictions_of_the_split_are_kept(calibrate, write_examples, records, tmp_path):
    calibrate(write_examples(records))
    found = predictions.read(str(tmp_path / "predictions")).set_index("image_id")
    assert found.columns.tolist() == ["uri", "class_name", "split", "label", "probability"]
    assert set(found["split"]) == {"val"}
    expected = np.array([242, 217, 191, 166, 89, 64, 38, 13]) / 255
    rows = found.loc[[f"id {index}" for index in range(8)]]
    np.testing.assert_allclose(rows["probability"], expected, atol=1e-5)
    assert rows["label"].tolist() == LABELS
    assert rows["uri"].tolist() == [f"{index}.png" for index in range(8)]
    assert rows["class_name"].tolist() == ["red" if label else "other" for label in LABELS]


def own_messages(caplog) -> list[str]:
    """What the component says; TensorFlow warns of names in some orders of the tests."""
    return [each.getMessage() for each in caplog.records if each.name.startswith("outnumbered")]


def test_progress_and_the_operating_point_are_logged(calibrate, write_examples, records, caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.calibrator"):
        calibrate(write_examples(records))
    messages = own_messages(caplog)
    assert messages[0] == "8 of 8 val images, done"
    assert messages[1:3] == [
        "calibration on val: the probability is the model's score",
        f"calibration on val: {calibration.NO_BALANCE}",
    ]
    assert messages[3] == (
        "operating point 0.5000 by rule best_f1 on val, weighted to a prevalence of 0.375: "
        "precision 0.750, recall 1.000"
    )
    assert re.fullmatch(
        r"to expect on new images, with 95 % intervals: precision 0\.\d{3} "
        r"\(0\.\d{3} to 0\.\d{3}\), recall .*, F1 .*, alerts per 1,000 images \d{3} \(\d+ to \d+\)",
        messages[4],
    )
    assert messages[5:] == [f"operating point on val: {FEW}"]


def test_remarks_on_the_threshold_are_logged_as_warnings(
    calibrate, write_examples, records, caplog
):
    with caplog.at_level(logging.INFO, logger="outnumbered.calibrator"):
        calibrate(write_examples(records), prevalence=0.1)
    messages = own_messages(caplog)
    assert "a prevalence of 0.1:" in messages[3]
    assert messages[5].startswith("operating point on val: each of the 5 negative images")


def test_the_component_has_the_settings_and_a_model_output():
    component = Calibrator(
        channel_utils.as_channel([standard_artifacts.Model()]),
        channel_utils.as_channel([standard_artifacts.Examples()]),
        channel_utils.as_channel([artifacts.Sampling()]),
        settings={"rule": "recall_at_precision", "precision_floor": 1.0, "costs": None},
    )
    assert component.exec_properties == {
        "settings": '{"costs": null, "precision_floor": 1.0, "rule": "recall_at_precision"}',
        "split": "val",
    }
    assert component.outputs["calibrated_model"].type is standard_artifacts.Model
    assert component.outputs["val_predictions"].type is artifacts.Predictions


def mean_color(image: bytes, change: float = 0.0) -> np.ndarray:
    """The features of an image of the model `frozen_model`, each higher by `change`."""
    pixels = np.asarray(Image.open(io.BytesIO(image)), np.float32) / 255
    return pixels.mean(axis=(0, 1)) + np.float32(change)


def scores_of(folder: Path) -> np.ndarray:
    found = predictions.read(str(folder / "predictions")).set_index("image_id")
    return found.loc[[f"id {index}" for index in range(8)], "probability"].to_numpy()


REDNESS = np.array([242, 217, 191, 166, 89, 64, 38, 13]) / 255


def test_scores_are_those_of_the_features_without_running_the_backbone(
    calibrate, frozen_model, write_examples, records, tmp_path
):
    examples = write_examples(records)
    # Less than the tolerance, so that it is seen of what the scores are.
    featured = write_featured(
        examples, tmp_path / "featured", lambda image: mean_color(image, 5e-4), key="abc"
    )
    serving = calibrate(examples, model=frozen_model, featured=featured)
    np.testing.assert_allclose(scores_of(tmp_path), REDNESS + 5e-4, atol=1e-5)
    assert feature_records.key_of_model(serving) == "abc"


def test_the_calibrated_model_gives_the_same_for_an_image_and_its_features(
    calibrate, frozen_model, write_examples, records, images, tmp_path
):
    examples = write_examples(records)
    featured = write_featured(examples, tmp_path / "featured", mean_color)
    serving = calibrate(
        examples, model=frozen_model, featured=featured, prevalence=0.1, calibration="platt"
    )
    served = tf.saved_model.load(serving).signatures
    expected = served["predict_images"](images=tf.constant(images))
    features = np.stack([mean_color(image) for image in images])
    found = dict(served["predict_features"](features=tf.constant(features)))
    near = found.pop("near_threshold")
    assert set(found) == set(expected)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5)
    assert near.numpy().ravel().tolist() == [0] * 8


def test_scores_within_rounding_of_a_threshold_are_told(
    calibrate, frozen_model, write_examples, records, tmp_path
):
    examples = write_examples(records)
    featured = write_featured(examples, tmp_path / "featured", mean_color)
    serving = calibrate(
        examples, model=frozen_model, featured=featured, rule="fixed", threshold=0.5
    )
    served = tf.saved_model.load(serving).signatures
    reds = np.array([0.49, 0.4995, 0.5, 0.5005, 0.51], np.float32)
    features = np.stack([reds, reds * 0, reds * 0], axis=1)
    near = served["predict_features"](features=tf.constant(features))["near_threshold"]
    assert near.numpy().ravel().tolist() == [0, 1, 1, 1, 0]


def test_features_with_other_scores_than_the_images_are_refused(
    calibrate, frozen_model, write_examples, records, tmp_path
):
    examples = write_examples(records)
    featured = write_featured(
        examples, tmp_path / "featured", lambda image: mean_color(image, 0.01)
    )
    with pytest.raises(UnequalScoresError, match=r"for the features and 0\.\d+ for image id \d"):
        calibrate(examples, model=frozen_model, featured=featured)


def test_a_model_that_needs_images_does_not_use_the_features(
    calibrate, write_examples, records, tmp_path
):
    examples = write_examples(records)
    featured = write_featured(
        examples, tmp_path / "featured", lambda image: mean_color(image, 0.01)
    )
    serving = calibrate(examples, featured=featured)
    np.testing.assert_allclose(scores_of(tmp_path), REDNESS, atol=1e-5)
    assert feature_records.key_of_model(serving) == ""
