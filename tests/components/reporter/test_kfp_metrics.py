"""The run page's figures are those of the report, in the form that KFP's own classes write."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp import dsl
from sklearn.metrics import auc, roc_curve

from components import names
from components.evaluator import metrics
from components.reporter import kfp_metrics
from components.reporter.files import METRICS_FILE, PREDICTIONS_FILE


@pytest.fixture(scope="module")
def described(reported):
    run, _, _ = reported
    return kfp_metrics.read(run.uri(names.REPORT))


def scored(count):
    """Labels and probabilities of a model whose scores of the classes overlap."""
    rng = np.random.default_rng(5)
    labels = rng.random(count) < 0.1
    return labels, rng.beta(2 + 2 * labels, 4 - 2 * labels).astype(np.float32)


def columns(points):
    keys = ("falsePositiveRate", "recall", "confidenceThreshold")
    return [np.array([point[key] for point in points]) for key in keys]


def test_the_metadata_is_what_kfp_s_classes_write(reported, described):
    _, _, report = reported
    scalars = dsl.Metrics()
    for name, value in described[kfp_metrics.METRICS].items():
        scalars.log_metric(name, value)
    assert described[kfp_metrics.METRICS] == scalars.metadata

    counts = report["metrics"]
    labels, probabilities = scored(150)
    rates, recalls, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
    thresholds[0] = 2.0  # scikit-learn's infinity, which JSON does not have
    classes = dsl.ClassificationMetrics()
    classes.log_confusion_matrix(
        ["dogs", "not dogs"],
        [[counts["tp"], counts["fn"]], [counts["fp"], counts["tn"]]],
    )
    classes.log_roc_curve(rates.tolist(), recalls.tolist(), thresholds.tolist())
    assert kfp_metrics.classification(report, labels, probabilities) == classes.metadata


def test_the_types_are_those_of_kfp_s_classes():
    types = kfp_metrics.TYPES
    assert types[kfp_metrics.METRICS] == dsl.Metrics.schema_title
    assert types[kfp_metrics.CLASSIFICATION_METRICS] == dsl.ClassificationMetrics.schema_title


def test_the_headline_figures_are_those_of_the_report(reported, described):
    _, _, report = reported
    headline = described[kfp_metrics.METRICS]
    for name in ("precision", "recall", "f1", "pr_auc", "auc", "threshold"):
        assert headline[name] == report["metrics"][name]
    for name in ("prevalence", "precision", "recall", "f1", "pr_auc", "alerts_per_thousand"):
        assert headline[f"at_prevalence.{name}"] == report["at_prevalence"][name]
    assert headline["precision"] != headline["at_prevalence.precision"]
    assert (headline["test.images"], headline["test.positives"]) == (500, 100)
    assert headline["blessed"] == 1


def test_figures_are_finite_numbers_and_undefined_ones_are_left_out(reported, tmp_path):
    run, _, report = reported
    undefined = {"precision": None, "f1": None, "pr_auc": None}
    changed = report | {
        "blessed": False,
        "metrics": report["metrics"] | undefined,
        "at_prevalence": report["at_prevalence"] | undefined,
    }
    (tmp_path / METRICS_FILE).write_text(json.dumps(changed))
    shutil.copy(Path(run.uri(names.REPORT), PREDICTIONS_FILE), tmp_path)
    headline = kfp_metrics.read(str(tmp_path))[kfp_metrics.METRICS]
    assert headline["blessed"] == 0
    assert {"recall", "at_prevalence.recall"} <= headline.keys()
    assert not undefined.keys() & {name.rpartition(".")[2] for name in headline}
    for value in headline.values():
        assert type(value) in (int, float)
        assert math.isfinite(value)


def test_the_rows_of_the_confusion_matrix_are_the_true_classes(reported, described):
    run, _, _ = reported
    rows = pd.read_parquet(Path(run.uri(names.REPORT), PREDICTIONS_FILE))
    matrix = described[kfp_metrics.CLASSIFICATION_METRICS]["confusionMatrix"]
    of_dogs = rows[rows[names.CLASS_NAME] == "dogs"][names.IS_POSITIVE]
    assert matrix["annotationSpecs"][0] == {"displayName": "dogs"}
    assert matrix["rows"][0] == {"row": [of_dogs.sum(), (1 - of_dogs).sum()]}
    assert sum(sum(row["row"]) for row in matrix["rows"]) == len(rows)


def test_a_long_curve_is_thinned_to_points_of_its_own_and_keeps_its_ends_and_area(reported):
    _, _, report = reported
    labels, probabilities = scored(20_000)
    found = kfp_metrics.classification(report, labels, probabilities)["confidenceMetrics"]
    rates, recalls, thresholds = columns(found)
    assert len(found) == kfp_metrics.ROC_POINTS
    assert (rates[0], recalls[0]) == (0, 0)
    assert (rates[-1], recalls[-1]) == (1, 1)
    assert np.all(np.diff(thresholds) < 0)
    for rate, recall, threshold in zip(rates, recalls, thresholds, strict=True):
        counts = metrics.confusion(labels, probabilities >= threshold)
        assert (rate, recall) == (counts.false_positive_rate, counts.recall)
    exact = metrics.roc_auc(labels, probabilities)
    assert auc(rates, recalls) == pytest.approx(exact, abs=1e-4)


def test_the_curve_is_that_of_the_report_s_predictions(reported, described):
    _, _, report = reported
    points = described[kfp_metrics.CLASSIFICATION_METRICS]["confidenceMetrics"]
    rates, recalls, _ = columns(points)
    assert auc(rates, recalls) == pytest.approx(report["metrics"]["auc"], abs=2e-3)


def test_no_image_reaches_the_first_threshold(reported):
    _, _, report = reported
    labels, probabilities = scored(100)
    probabilities[:3] = 1
    found = kfp_metrics.classification(report, labels, probabilities)["confidenceMetrics"]
    first, second = found[0]["confidenceThreshold"], found[1]["confidenceThreshold"]
    assert math.isfinite(first)
    assert first > second == 1


def test_the_metadata_survives_json(described):
    text = json.dumps(described, allow_nan=False)
    assert json.loads(text) == described
