import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import channel_utils, standard_artifacts

from components import artifacts
from components.calibrator import operating_point
from components.calibrator.component import Calibrator
from components.calibrator.executor import Executor
from components.evaluator import predictions
from components.example_files import DamagedArtifactError, shard_name
from components.imbalance_sampler import report as sampling_report

LABELS = [1, 1, 0, 1, 0, 0, 0, 0]


def _artifact(kind: type, uri: Path):
    artifact = kind()
    artifact.uri = str(uri)
    return artifact


@pytest.fixture
def calibrate(trained_model, tmp_path):
    """Runs the executor on an Examples folder; returns the calibrated serving folder."""

    def run(examples: Path, *, prevalence: float = 3 / 8, **changes) -> str:
        report = {"population": {"prevalence": prevalence}}
        sampling_report.write(report, str(tmp_path / "sampling"))
        exec_properties = {"rule": "best_f1", "precision_floor": 0.0, "threshold": 0.5}
        Executor().Do(
            {
                "model": [_artifact(standard_artifacts.Model, trained_model)],
                "examples": [_artifact(standard_artifacts.Examples, examples)],
                "sampling": [_artifact(artifacts.Sampling, tmp_path / "sampling")],
            },
            {
                "calibrated_model": [_artifact(standard_artifacts.Model, tmp_path / "out")],
                "val_predictions": [_artifact(artifacts.Predictions, tmp_path / "predictions")],
            },
            {**exec_properties, "split": "val", **changes},
        )
        return str(tmp_path / "out/Format-Serving")

    return run


def test_both_signatures_keep_the_probability_and_add_the_decision(
    calibrate, write_examples, records, images
):
    served = tf.saved_model.load(calibrate(write_examples(records))).signatures
    expected = np.array([242, 217, 191, 166, 89, 64, 38, 13])[:, None] / 255
    for outputs in (
        served["serving_default"](examples=tf.constant(records)),
        served["predict_images"](images=tf.constant(images)),
    ):
        assert set(outputs) == {"probability", "is_positive"}
        np.testing.assert_allclose(outputs["probability"], expected, atol=1e-5)
        assert outputs["probability"].dtype == tf.float32
        assert outputs["is_positive"].dtype == tf.int64
        np.testing.assert_array_equal(outputs["is_positive"], [[1]] * 4 + [[0]] * 4)


def test_the_operating_point_is_among_the_assets(calibrate, write_examples, records):
    serving = calibrate(write_examples(records), prevalence=0.1, rule="fixed", threshold=0.5)
    point = operating_point.read(serving)
    # Each of the five negatives represents 27 / 5.
    precision = 3 / (3 + 27 / 5)
    assert point == {
        "threshold": 0.5,
        "rule": "fixed",
        "precision_floor": None,
        "prevalence": 0.1,
        "precision": pytest.approx(precision),
        "precision_interval": [pytest.approx(0.15, abs=0.1), pytest.approx(0.9, abs=0.1)],
        "recall": 1.0,
        "f1": pytest.approx(2 * precision / (1 + precision)),
        "positives": 3,
        "negatives": 5,
        "own_balance": {"prevalence": 3 / 8, "precision": 0.75, "f1": pytest.approx(6 / 7)},
        "remarks": [
            "each of the 5 negative images represents 5.4 of the population, so few images "
            "determine the false positive rate; draw the split at the population's balance"
        ],
    }


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


def test_progress_and_the_operating_point_are_logged(calibrate, write_examples, records, caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.calibrator"):
        calibrate(write_examples(records))
    assert caplog.messages[0] == "8 of 8 val images, done"
    assert caplog.messages[1:] == [
        "operating point 0.5000 by rule best_f1 on val, weighted to a prevalence of 0.375: "
        "precision 0.750, recall 1.000"
    ]


def test_remarks_on_the_threshold_are_logged_as_warnings(
    calibrate, write_examples, records, caplog
):
    with caplog.at_level(logging.INFO, logger="outnumbered.calibrator"):
        calibrate(write_examples(records), prevalence=0.1)
    assert "a prevalence of 0.1:" in caplog.messages[1]
    assert caplog.messages[2].startswith("operating point on val: each of the 5 negative images")


def test_the_component_accepts_integers_and_has_a_model_output():
    component = Calibrator(
        channel_utils.as_channel([standard_artifacts.Model()]),
        channel_utils.as_channel([standard_artifacts.Examples()]),
        channel_utils.as_channel([artifacts.Sampling()]),
        rule="recall_at_precision",
        precision_floor=1,
    )
    assert component.exec_properties == {
        "rule": "recall_at_precision",
        "precision_floor": 1.0,
        "threshold": 0.5,
        "split": "val",
    }
    assert component.outputs["calibrated_model"].type is standard_artifacts.Model
    assert component.outputs["val_predictions"].type is artifacts.Predictions
