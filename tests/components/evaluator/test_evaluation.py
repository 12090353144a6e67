import json
import logging
import shutil
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam import Pipeline
from evaluation_on_disk import PREVALENCE, Evaluation, Row, save_model, some_rows, write_examples
from sklearn import metrics as sklearn_metrics
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.util import model_utils
from tfx.types import Channel, standard_artifacts

from components import artifact_files, artifacts, example_files, names
from components.artifact_files import DamagedArtifactError
from components.evaluator import (
    blessing,
    eval_config,
    gates,
    predict,
    predictions,
    slice_search,
    sliced_counts,
    summary,
)
from components.evaluator.component import Evaluator
from components.evaluator.gate_results import Found, GateResult, Outcome, Verdict
from components.evaluator.probability_quality import METRICS, reliability


def truth(rows, threshold):
    labels = np.array([row.label for row in rows])
    scores = np.array([row.probability for row in rows], np.float32)
    return labels, scores, scores >= np.float32(threshold)


def counts_of(rows, threshold):
    labels, _, called = truth(rows, threshold)
    tn, fp, fn, tp = sklearn_metrics.confusion_matrix(labels, called, labels=[0, 1]).ravel()
    return {"tp": tp, "fp": fp, "tn": tn, "fn": fn}


def band_of(row) -> str:
    brightness = row.measures["brightness"]
    return "dark" if brightness <= 100.5 else "medium" if brightness <= 180.25 else "bright"


def test_every_image_has_one_row_with_its_prediction(evaluated):
    table = predictions.read(evaluated.predictions.uri)
    assert list(table.columns) == [
        *("image_id", "uri", "class_name", "label", "probability", "score", "is_positive"),
        "needs_review",
        *("breed", "brightness", "light"),
    ]
    assert len(table) == len(evaluated.rows)
    assert table["image_id"].is_monotonic_increasing
    for _, found in table.iterrows():
        row = evaluated.rows[int(found["uri"].removesuffix(".jpg").rsplit(" ", 1)[1])]
        assert found["probability"] == np.float32(row.probability)
        assert found["score"] == pytest.approx(np.sqrt(row.probability), abs=1e-6)
        assert found["is_positive"] == (found["probability"] >= np.float32(evaluated.threshold))
        assert (found["label"], found["breed"]) == (row.label, row.columns["breed"])
        assert found["brightness"] == band_of(row)


def test_the_calibration_is_that_of_scores_before_and_of_probabilities_after(evaluated):
    found = summary.read(evaluated.evaluation.uri)
    labels, values, _ = truth(evaluated.rows, evaluated.threshold)
    for key, used in (("before", np.sqrt(values)), ("after", values)):
        expected = reliability(labels, used, PREVALENCE, seed=0)
        assert found["calibration"][key]["log_loss"] == pytest.approx(expected["log_loss"], 1e-6)
        assert found["calibration"][key]["brier"] == pytest.approx(expected["brier"], 1e-6)
        assert len(found["calibration"][key]["bins"]) == len(expected["bins"])
    for name in ("ece", "brier", "log_loss"):
        assert found["at_prevalence"][name] == found["calibration"]["after"][name]


def test_single_columns_can_be_read(evaluated):
    table = predictions.read(evaluated.predictions.uri, ["label"])
    assert list(table.columns) == ["image_id", "label"]


def test_the_metrics_equal_those_of_scikit_learn(evaluated):
    found = summary.read(evaluated.evaluation.uri)
    labels, scores, called = truth(evaluated.rows, evaluated.threshold)
    assert found["split"] == "test"
    assert found["examples"] == len(labels)
    assert found["positives"] == labels.sum()
    assert found["metrics"] == {
        **counts_of(evaluated.rows, evaluated.threshold),
        "threshold": evaluated.threshold,
        "recall": pytest.approx(sklearn_metrics.recall_score(labels, called)),
        "precision": pytest.approx(sklearn_metrics.precision_score(labels, called)),
        "f1": pytest.approx(sklearn_metrics.f1_score(labels, called)),
        "accuracy": pytest.approx(sklearn_metrics.accuracy_score(labels, called)),
        "specificity": pytest.approx(1 - called[labels == 0].mean()),
        "pr_auc": pytest.approx(sklearn_metrics.average_precision_score(labels, scores)),
        "auc": pytest.approx(sklearn_metrics.roc_auc_score(labels, scores)),
        "alerts_per_thousand": pytest.approx(1000 * called.mean()),
        "expected_cost": None,
        "brier": pytest.approx(sklearn_metrics.brier_score_loss(labels, scores)),
        "log_loss": pytest.approx(sklearn_metrics.log_loss(labels, scores.astype(float))),
        "ece": pytest.approx(reliability(labels, scores, labels.mean(), seed=0)["ece"]),
    }
    for name in ("recall", "precision", "f1", "pr_auc"):
        low, high = found["intervals"][name]
        assert low < found["metrics"][name] < high


def test_tfmas_own_files_have_the_same_metrics(evaluated):
    result = tfma.load_eval_result(evaluated.evaluation.uri)
    (overall,) = [values[""][""] for key, values in result.slicing_metrics if key == ()]
    assert {name: overall[name]["doubleValue"] for name in ("tp", "fp", "tn", "fn")} == counts_of(
        evaluated.rows, evaluated.threshold
    )
    found = summary.read(evaluated.evaluation.uri)["metrics"]
    for name in ("recall", "precision", "f1", "accuracy", "specificity"):
        assert overall[name]["doubleValue"] == pytest.approx(found[name])
    # TFMA's areas are interpolated, so they would differ from the exact ones.
    assert not {"auc", "auc_precision_recall"} & overall.keys()


def test_every_slice_is_counted_including_crosses(evaluated):
    found = {
        tuple(sorted(slice_["slice"].items())): slice_
        for slice_ in summary.read(evaluated.evaluation.uri)["slices"]
    }
    breeds = {row.columns["breed"] for row in evaluated.rows}
    expected = {(("class_name", "cats"),), (("class_name", "dogs"),)}
    expected |= {(("breed", breed),) for breed in breeds}
    expected |= {
        (("breed", breed), ("light", light)) for breed in breeds for light in ("day", "dim")
    }
    expected |= {(("brightness", band),) for band in ("dark", "medium", "bright")}
    assert set(found) == expected
    for band in ("dark", "medium", "bright"):
        slice_ = found[(("brightness", band),)]
        members = [row for row in evaluated.rows if band_of(row) == band]
        assert {name: slice_[name] for name in ("tp", "fp", "tn", "fn")} == counts_of(
            members, evaluated.threshold
        )
    for breed in breeds:
        members = [row for row in evaluated.rows if row.columns["breed"] == breed]
        slice_ = found[(("breed", breed),)]
        assert {name: slice_[name] for name in ("tp", "fp", "tn", "fn")} == counts_of(
            members, evaluated.threshold
        )
        assert slice_["examples"] == len(members)
        assert slice_["positives"] == sum(row.label for row in members)


def test_the_worst_slices_of_all_columns_and_bands_are_searched(evaluated):
    found = summary.read(evaluated.evaluation.uri)
    labels, _, called = truth(evaluated.rows, evaluated.threshold)
    columns = {
        name: np.array([row.columns[name] for row in evaluated.rows]) for name in ("breed", "light")
    }
    columns["brightness"] = np.array([band_of(row) for row in evaluated.rows])
    columns["class_name"] = np.where(labels == 1, "dogs", "cats")
    expected = slice_search.search(labels, called, columns)
    assert expected.looked_at > 30
    assert found["slice_search"] == {
        "looked_at": expected.looked_at,
        "found": expected.found,
        "false_discovery_rate": 0.05,
    }
    assert [tuple(row["slice"].items()) for row in found["worst_slices"]] == [
        finding.slice for finding in expected.worst
    ]
    assert found["worst_slices"][0]["worse_by"] == pytest.approx(expected.worst[0].worse_by)


def test_the_summary_gives_the_bands_and_what_was_left_out(evaluated):
    found = summary.read(evaluated.evaluation.uri)
    assert found["bands"] == {"brightness": [100.5, 180.25]}
    assert found["slices_left_out"] == {
        "patient": "patient has 4,812 values, and metrics are sliced by at most 1,000; group the "
        "values in another column",
        "sharpness": "all images have the same value",
    }


def test_examples_of_an_older_version_are_evaluated_without_bands(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="outnumbered.evaluator")
    rows = [Row(row.label, row.probability, row.columns) for row in some_rows()]
    made = Evaluation(tmp_path, rows, 0.48, slices=[["breed"]], bands=["brightness"])
    found = summary.read(made.prepare().run().evaluation.uri)
    assert {tuple(row["slice"]) for row in found["slices"]} == {("class_name",), ("breed",)}
    assert found["bands"] == {}
    assert "not sliced by brightness: the images were read by an older version" in caplog.text
    assert "worst slice: none of " in caplog.text


def test_undefined_metrics_of_a_slice_of_one_class_are_none(evaluated):
    slices = summary.read(evaluated.evaluation.uri)["slices"]
    (cats,) = [found for found in slices if found["slice"] == {"class_name": "cats"}]
    assert cats["recall"] is None
    assert cats["intervals"]["recall"] is None
    assert cats["pr_auc"] is None
    assert cats["specificity"] > 0.5


def test_metrics_are_also_given_at_the_real_worlds_prevalence(evaluated):
    found = summary.read(evaluated.evaluation.uri)
    at_test, in_world = found["metrics"], found["at_prevalence"]
    assert in_world["prevalence"] == PREVALENCE
    assert in_world["recall"] == at_test["recall"]
    hits = PREVALENCE * at_test["recall"]
    alarms = (1 - PREVALENCE) * (1 - at_test["specificity"])
    assert in_world["precision"] == pytest.approx(hits / (hits + alarms))
    low, high = in_world["intervals"]["precision"]
    assert low < in_world["precision"] < high < at_test["precision"]


def test_at_the_splits_own_prevalence_metrics_and_intervals_are_the_splits_own(evaluated):
    table = predictions.read(evaluated.predictions.uri)
    counted = sliced_counts.read(evaluated.evaluation.uri)
    share = float(table["label"].mean())
    found = summary.summarize(table, counted, split="test", threshold=0.48, prevalence=share)
    assert found["at_prevalence"]["intervals"] == {
        name: pytest.approx(bounds) for name, bounds in found["intervals"].items()
    }
    for name in found["intervals"]:
        assert found["at_prevalence"][name] == pytest.approx(found["metrics"][name])
    others = {*METRICS, "alerts_per_thousand", "expected_cost"}
    assert set(found["intervals"]) == {*gates.RATES, *others}


def test_the_verdict_is_in_tfxs_format_with_its_reason(evaluated):
    assert Path(evaluated.blessing.uri, "NOT_BLESSED").is_file()
    assert not Path(evaluated.blessing.uri, "BLESSED").exists()
    assert not blessing.is_blessed(evaluated.blessing.uri)
    assert evaluated.blessing.get_int_custom_property("blessed") == 0
    assert evaluated.blessing.get_string_custom_property("current_model") == evaluated.model.uri
    verdict = blessing.read_verdict(evaluated.blessing.uri)
    assert verdict["blessed"] is False
    assert verdict["reason"].startswith("precision at prevalence is ")
    assert [gate["passed"] for gate in verdict["gates"]] == [True, False, False, True]
    assert (
        "; 2 anomalies in the data, but the gate requires anomalies <= 1: out of range in "
        in (verdict["reason"])
    )
    figures = summary.read(evaluated.evaluation.uri)
    bounds = figures["intervals"]["recall"], figures["at_prevalence"]["intervals"]["precision"]
    assert [gate["interval"] for gate in verdict["gates"]] == [*bounds, None, ANY]


def test_a_gate_on_slices_is_judged_by_tfmas_slices(evaluated):
    gate = blessing.read_verdict(evaluated.blessing.uri)["gates"][3]
    sizes = {
        breed: sum(row.label for row in evaluated.rows if row.columns["breed"] == breed)
        for breed in ("beagle", "pug")
    }
    assert {each["slice"]["breed"]: each["images"] for each in gate["slices"]} == sizes
    small = min(sizes, key=sizes.__getitem__)
    assert (gate["outcome"], gate["slice"]) == ("too_few_images", {"breed": small})
    assert gate["more_images"]["positives"] == max(sizes.values()) - sizes[small]


def test_a_blessing_is_valid_for_tfxs_own_pusher(evaluated, tmp_path):
    artifact = standard_artifacts.ModelBlessing()
    artifact.uri = str(tmp_path)
    parsed = gates.parse_all(["recall >= 0.9"])
    verdict = Verdict(True, "", (GateResult(parsed[0], Found(0.95, Outcome.PASSED)),))
    blessing.write(verdict, artifact, evaluated.model)
    assert model_utils.is_model_blessed(artifact)
    assert Path(tmp_path, "BLESSED").is_file()
    assert blessing.is_blessed(artifact.uri)


def test_a_blessing_without_a_marker_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must contain one of the files BLESSED and NOT_BLESSED"):
        blessing.is_blessed(str(tmp_path))


def predict_only(root, rows, *, pipeline_args, shards=4, **changes):
    """Predicts `rows` without TFMA; returns the files' bytes by name."""
    write_examples(root / "examples", rows, shards=shards)
    save_model(root / "model", 0.5)
    (root / "out").mkdir()
    shards = example_files.split_shards(str(root / "examples"), names.TEST)
    each = predict.PredictShard(
        **{
            "model": str(root / "model"),
            "output": str(root / "out"),
            "slice_columns": ["breed"],
            "total": len(rows),
            **changes,
        }
    )
    with Pipeline(argv=["--runner=FnApiRunner", *pipeline_args]) as pipeline:
        _ = pipeline | predict.PredictSplit(shards, each)
    return {path.name: path.read_bytes() for path in (root / "out").iterdir()}


def test_predictions_are_the_same_bytes_for_any_number_of_workers(tmp_path):
    rows = some_rows(positives=20, negatives=180)
    one = predict_only(tmp_path / "one", rows, pipeline_args=[])
    threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=3"]
    three = predict_only(tmp_path / "three", rows, pipeline_args=threads)
    assert one == three
    assert sorted(one) == [f"predictions-{index:05d}-of-00004.parquet" for index in range(4)]


def test_images_of_one_class_have_no_weight_that_is_undefined():
    rows = {"label": [0, 0], "probability": np.array([0.0, 0.4], np.float32), "breed": ["", "pug"]}
    batch = predict.for_tfma(pa.record_batch(rows), sides=(0, 2), prevalence=0.1)
    assert batch.column(names.WEIGHT).to_pylist() == [[1.0], [1.0]]


def test_progress_is_logged_to_the_end(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="outnumbered.evaluator"):
        predict_only(tmp_path, some_rows(positives=20, negatives=180), pipeline_args=[])
    assert "200 of 200 test images, done" in caplog.messages


def test_missing_predictions_are_an_error_and_not_an_empty_table(tmp_path):
    artifact_files.write_list(str(tmp_path), [], check_digests=False)
    with pytest.raises(FileNotFoundError, match=r"no predictions-\*.parquet exists in"):
        predictions.read(str(tmp_path))


def test_predictions_without_one_of_their_files_are_an_error(evaluated, tmp_path):
    uri = shutil.copytree(evaluated.predictions.uri, tmp_path / "predictions")
    (uri / "predictions-00001-of-00003.parquet").unlink()
    with pytest.raises(DamagedArtifactError, match=r"00001-of-00003\.parquet is missing"):
        predictions.read(str(uri))


def test_examples_without_one_of_their_shards_are_not_evaluated(tmp_path):
    prepared = Evaluation(tmp_path, some_rows(positives=5, negatives=5), 0.5).prepare()
    (tmp_path / "examples" / "Split-test" / example_files.shard_name(2, 3)).unlink()
    with pytest.raises(DamagedArtifactError, match="00002-of-00003 is missing, with 3 records"):
        prepared.run()


def test_a_missing_slice_column_is_named(tmp_path):
    with pytest.raises(Exception, match=r"must have the columns \['fur'\]. Received: .*'breed'"):
        predict_only(tmp_path, some_rows(), pipeline_args=[], slice_columns=["fur"])


def test_a_diverged_model_is_refused(tmp_path):
    rows = [*some_rows(), Row(1, float("nan"), {"breed": "pug", "light": "day"})]
    with pytest.raises(Exception, match=r"diverged.*Received: nan for image 0"):
        predict_only(tmp_path, rows, pipeline_args=[], shards=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_without_an_operating_point_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="must have a signature 'serving_default'"):
        predict.ServedModel(str(tmp_path))


@pytest.mark.parametrize("prevalence", [0, 1, 1.5])
def test_a_prevalence_out_of_range_is_refused_before_any_image_is_read(tmp_path, prevalence):
    evaluation = Evaluation(tmp_path, some_rows(), 0.5).prepare()
    report = {"population": {"prevalence": prevalence}, "splits": {}}
    (tmp_path / "sampling" / "sampling.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match=f"set population.prevalence. Received: {prevalence}"):
        evaluation.run()
    assert not (tmp_path / "predictions").exists()


def test_a_split_that_does_not_exist_is_refused_at_the_start(tmp_path):
    evaluation = Evaluation(tmp_path, some_rows(), 0.5, split="exam").prepare()
    with pytest.raises(ValueError, match=r"must be one of \['test'\]. Received: 'exam'"):
        evaluation.run()


@pytest.mark.parametrize(("label", "side"), [(0, "positive"), (1, "negative")])
def test_a_split_of_one_class_is_refused(evaluated, label, side):
    table = predictions.read(evaluated.predictions.uri).query("label == @label")
    with pytest.raises(ValueError, match=rf"split 'test' has no {side} image.*sampler.splits.test"):
        summary.summarize(table, [], split="test", threshold=0.48, prevalence=0.1)


BAND = {"share": 0.2, "lower": 0.4, "upper": 0.6}
COSTS = {"missed": 50.0, "false_alarm": 1.0}


def test_a_review_band_and_costs_of_the_model_are_evaluated(tmp_path):
    rows = some_rows(positives=20, negatives=80)
    point = {"review": BAND, "costs": COSTS}
    evaluation = Evaluation(tmp_path, rows, 0.5, gates=[], point=point).prepare().run()
    labels, scores, called = truth(rows, 0.5)
    reviewed = (scores >= np.float32(0.4)) & (scores < np.float32(0.6))
    table = predictions.read(evaluation.predictions.uri)
    assert table["needs_review"].sum() == reviewed.sum()
    found = summary.read(evaluation.evaluation.uri)
    missed, false_alarms = (labels > called).sum(), (labels < called).sum()
    cost = 1000 * (50 * missed + false_alarms) / 100
    assert found["metrics"]["expected_cost"] == pytest.approx(cost)
    low, high = found["intervals"]["expected_cost"]
    assert low < cost < high
    world = found["at_prevalence"]
    assert world["expected_cost"] == pytest.approx(
        1000 * (PREVALENCE * missed / 20 * 50 + (1 - PREVALENCE) * false_alarms / 80)
    )
    review = found["review"]
    assert {name: review[name] for name in BAND} == BAND
    assert (review["images"], review["positives"]) == (reviewed.sum(), labels[reviewed].sum())
    decided = ~reviewed
    assert review["metrics"]["recall"] == pytest.approx(
        sklearn_metrics.recall_score(labels[decided], called[decided])
    )
    assert review["metrics"]["share"] == pytest.approx(reviewed.mean())
    share = PREVALENCE * reviewed[labels == 1].mean()
    share += (1 - PREVALENCE) * reviewed[labels == 0].mean()
    assert review["at_prevalence"]["share"] == pytest.approx(share)


def test_a_model_without_a_review_band_sends_no_image_to_a_person(evaluated):
    assert summary.read(evaluated.evaluation.uri)["review"] is None
    assert not predictions.read(evaluated.predictions.uri)["needs_review"].any()


def test_a_review_band_of_another_model_is_refused(evaluated):
    table = predictions.read(evaluated.predictions.uri)
    with pytest.raises(
        ValueError, match=r"recorded review band, \{'share'.*Received: \d+ different"
    ):
        summary.summarize(table, [], split="test", threshold=0.48, prevalence=0.1, band=BAND)


def test_a_threshold_of_another_model_is_refused(evaluated):
    table = predictions.read(evaluated.predictions.uri)
    with pytest.raises(ValueError, match="assets belong to another model"):
        summary.summarize(table, [], split="test", threshold=0.9, prevalence=0.1)


def test_counts_that_disagree_with_the_predictions_stop_the_run(evaluated):
    table = predictions.read(evaluated.predictions.uri)
    counted = sliced_counts.read(evaluated.evaluation.uri)
    with pytest.raises(RuntimeError, match="TFMA counted"):
        summary.summarize(table.iloc[1:], counted, split="test", threshold=0.48, prevalence=0.1)


def evaluator(**changes):
    return Evaluator(
        Channel(type=standard_artifacts.Examples),
        Channel(type=standard_artifacts.Model),
        Channel(type=artifacts.Sampling),
        **{"slices": [["breed"]], "bands": ["sharpness"], "gates": ["recall >= 0.9"], **changes},
    )


def test_the_components_parameters_are_text():
    assert evaluator().exec_properties == {
        "split": "test",
        "slices": '[["breed"]]',
        "bands": '["sharpness"]',
        "gates": '["recall >= 0.9"]',
        "sampler": "",
    }


def test_an_invalid_gate_is_refused_before_the_pipeline_starts():
    with pytest.raises(gates.GateError, match="did you mean 'recall'"):
        evaluator(gates=["recal >= 0.9"])


def test_a_gate_on_slices_that_are_not_computed_is_refused_before_the_pipeline_starts():
    with pytest.raises(
        gates.GateError, match=r"must be of one of breed, class_name, sharpness;.*: 'light'"
    ):
        evaluator(gates=["recall >= 0.9 in every light"])
    evaluator(gates=["specificity >= 0.9 in every class_name"])


def test_a_gate_on_anomalies_requires_the_example_validator():
    with pytest.raises(gates.GateError, match="anomalies are required for gate 'anomalies <= 0'"):
        evaluator(gates=["anomalies <= 0"])
    channel = Channel(type=standard_artifacts.ExampleAnomalies)
    assert names.ANOMALIES in evaluator(gates=["anomalies <= 0"], anomalies=channel).inputs
    assert names.ANOMALIES not in evaluator().inputs


def test_the_same_columns_in_any_order_are_one_slice():
    config = eval_config.make(0.5, [["light", "breed"], ["breed", "light"], ["class_name"], []])
    found = [list(spec.feature_keys) for spec in config.slicing_specs]
    assert found == [[], ["class_name"], ["breed", "light"]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_probabilities_above_tfmas_bound_are_those_that_reach_the_threshold(threshold):
    bound = eval_config.exclusive(threshold)
    scores = np.array([0.0, np.nextafter(np.float32(0.3), 0), 0.3, 1.0], np.float32)
    above = eval_config.above_zero(scores) > bound
    assert above.tolist() == (scores >= np.float32(threshold)).tolist()
    assert bound >= 0


RATES = ("recall", "precision", "f1", "accuracy", "specificity")


def of_tfma(evaluated, suffix):
    """TFMA's metrics by slice, with the names that end in `suffix`, without it."""
    result = tfma.load_eval_result(evaluated.evaluation.uri)
    return {
        key: {
            name.removesuffix(suffix): float(value["doubleValue"])
            for name, value in found[""][""].items()
            if name.endswith(suffix) and "doubleValue" in value
        }
        for key, found in result.slicing_metrics
    }


def of_scikit_learn(labels, called, weights):
    """The same metrics by scikit-learn; undefined ones are NaN."""
    given = {"sample_weight": weights, "zero_division": np.nan}
    matrix = sklearn_metrics.confusion_matrix(labels, called, labels=[0, 1], sample_weight=weights)
    return {
        "recall": sklearn_metrics.recall_score(labels, called, **given),
        "precision": sklearn_metrics.precision_score(labels, called, **given),
        "f1": sklearn_metrics.f1_score(labels, called, **given),
        "accuracy": sklearn_metrics.accuracy_score(labels, called, sample_weight=weights),
        "specificity": sklearn_metrics.recall_score(labels, called, pos_label=0, **given),
        **dict(zip(("tn", "fp", "fn", "tp"), matrix.ravel(), strict=True)),
    }


def test_tfma_scikit_learn_and_the_summary_agree_at_prevalence_in_every_slice(evaluated):
    labels, _, called = truth(evaluated.rows, evaluated.threshold)
    odds = (1 - PREVALENCE) / PREVALENCE
    weights = np.where(labels, 1, odds * labels.sum() / (labels == 0).sum())
    classes = np.where(labels, "dogs", "cats")
    columns = [
        row.columns | {"class_name": name, "brightness": band_of(row)}
        for row, name in zip(evaluated.rows, classes, strict=True)
    ]
    figures = summary.read(evaluated.evaluation.uri)
    ours = {(): figures["at_prevalence"]} | {
        tuple(row["slice"].items()): row["at_prevalence"] for row in figures["slices"]
    }
    theirs = of_tfma(evaluated, eval_config.AT_PREVALENCE)
    assert ours.keys() == theirs.keys()
    for key, found in theirs.items():
        chosen = [all(each[column] == value for column, value in key) for each in columns]
        expected = of_scikit_learn(labels[chosen], called[chosen], weights[chosen])
        assert {name: found[name] for name in expected} == close(expected)
        # Undefined metrics are None in JSON.
        our_rates = [np.nan if ours[key][name] is None else ours[key][name] for name in RATES]
        assert dict(zip(RATES, our_rates, strict=True)) == close(expected, RATES)


def close(expected, chosen=None):
    """Equal to 1e-9; NaN equals NaN."""
    return {
        name: pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True)
        for name in chosen or expected
    }


def test_tfmas_viewer_opens_the_evaluation_with_its_slices_and_weights(evaluated):
    result = tfma.load_eval_result(evaluated.evaluation.uri)
    view = tfma.view.render_slicing_metrics(result, slicing_column="breed")
    breeds = {row.columns["breed"] for row in evaluated.rows}
    assert {row["slice"] for row in view.data} == {f"breed:{breed}" for breed in breeds}
    counted = view.config["weightedExamplesColumn"]
    assert all(row["metrics"][""][""][counted]["doubleValue"] > 0 for row in view.data)


@pytest.mark.parametrize("spec", [{}, {"breed": "pug"}])
def test_the_curves_in_tfmas_viewer_are_those_at_prevalence(evaluated, spec):
    chosen = [row for row in evaluated.rows if spec.items() <= row.columns.items()]
    labels, scores, _ = truth(chosen, 0)
    positives, negatives = (sum(row.label == label for row in evaluated.rows) for label in (1, 0))
    weight = (1 - PREVALENCE) / PREVALENCE * positives / negatives
    plot = tfma.view.render_plot(
        tfma.load_eval_result(evaluated.evaluation.uri),
        slicing_spec=config_pb2.SlicingSpec(feature_values=spec),
    )
    matrices = plot.data["confusionMatrixAtThresholds"]["matrices"]
    assert len(matrices) > 200
    for matrix in matrices:
        above = eval_config.above_zero(scores) > matrix.get("threshold", 0)
        counted = [matrix.get(name, 0) for name in ("truePositives", "falsePositives")]
        hits, alarms = (np.count_nonzero(above & (labels == label)) for label in (1, 0))
        assert counted == pytest.approx([hits, weight * alarms], rel=1e-9)
