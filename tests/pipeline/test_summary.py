"""The summary of a finished run on the terminal."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.example_validator import findings
from pipeline import summary
from pipeline.local import RunResult

ORIGIN = {"version": 1, "time": "2026-11-24 03:00 UTC", "images": 9, "folder": "/models/schema"}
NEW_CLASS = {
    "feature": "class_name",
    "kind": "new class",
    "found": "'dog [final]' (12 images)",
    "expected": "one of 'cats', 'dogs'",
}


def result(*, prevalence: float = 0.5, **changes: Any) -> RunResult:
    """The result of a run with 100 positives and 100 negatives in test."""
    rates = {"recall": 0.9, "accuracy": 0.93, "pr_auc": 0.95}
    bounds = {name: [0.8, 0.95] for name in (*rates, "precision", "f1")}
    amounts = {"alerts_per_thousand": 470.0, "expected_cost": None}
    own = {"precision": 0.957, "f1": 0.928, "threshold": 0.5, **amounts}
    world = {"prevalence": prevalence, "precision": 0.6923, "f1": 0.7826, **amounts}
    bounds = {**bounds, "alerts_per_thousand": [400.0, 540.0], "expected_cost": None}
    metrics = {
        "answer": "Blessed.",
        "blessed": True,
        "reason": "recall is 0.9 (>= 0.1)",
        "metrics": {**rates, **own, "tp": 90, "fp": 4, "tn": 96, "fn": 10},
        "intervals": bounds,
        "at_prevalence": {**rates, **world, "intervals": {**bounds, "precision": [0.41, 0.88]}},
        "examples": 200,
        "positives": 100,
        "operating_point": {"promised": None},
        "review": None,
        "slices": [],
        "worst_slices": [],
        "slice_search": {"looked_at": 140, "found": 0, "false_discovery_rate": 0.05},
        "slices_left_out": {},
        "gates": [],
        "data_check": findings.not_checked(),
        "sampling": {"near_duplicates": {"warning": None}},
        "pushed_model": "/models/1",
        **changes,
    }
    return RunResult(Path("runs/1"), metrics)


def shown(**changes: Any) -> str:
    """The terminal output for the run."""
    screen = io.StringIO()
    summary.show(result(**changes), Console(file=screen, width=200))
    return screen.getvalue()


def in_one_line(**changes: Any) -> str:
    return " ".join(shown(**changes).split())


def test_figures_at_prevalence_are_shown_next_to_those_on_test():
    lines = shown(prevalence=1 / 11).splitlines()
    (header,) = [line for line in lines if line.lstrip().startswith("metric")]
    assert "test, 1 negative per positive" in header
    assert "real world, 10 negatives per positive" in header
    (precision,) = [line for line in lines if line.lstrip().startswith("precision")]
    assert precision.split() == [
        *("precision", "0.957", "0.800", "to", "0.950"),
        *("0.692", "0.410", "to", "0.880"),
    ]


def test_figures_are_shown_once_if_test_has_the_prevalence_of_the_world():
    text = shown(prevalence=0.5)
    assert "real world" not in text
    assert "0.692" not in text


WORSE = {
    "slice": {"breed": "pug [old]", "brightness": "dark"},
    "metric": "recall",
    "images": 20,
    "value": 0.6,
    "rest": 0.94,
    "q": 0.0123,
}


def test_the_worst_slice_is_shown_if_one_is_found():
    assert "Worse than the rest" not in shown()
    search = {"looked_at": 1140, "found": 3, "false_discovery_rate": 0.05}
    assert (
        "Worse than the rest: breed = pug [old], brightness = dark: recall 0.600 (0.940 on the "
        "rest), 20 positive images, q = 0.012 and 2 more, of 1,140 slices and crosses of two"
    ) in in_one_line(slice_search=search, worst_slices=[WORSE])


def test_slices_that_were_left_out_are_shown_with_the_reason():
    left_out = {"patient": "patient has 4,812 values", "image_size": "all have the same value"}
    text = in_one_line(slices_left_out=left_out)
    assert "Not sliced by patient: patient has 4,812 values" in text
    assert "image_size" not in text


def test_json_contains_figures_on_test_and_at_prevalence():
    found = summary.as_json(result(prevalence=1 / 11))
    assert found["metrics"]["precision"] == 0.957
    assert found["at_prevalence"] == {
        "prevalence": pytest.approx(1 / 11),
        "precision": 0.6923,
        "recall": 0.9,
        "f1": 0.7826,
        "pr_auc": 0.95,
        "alerts_per_thousand": 470.0,
        "expected_cost": None,
    }


def test_alerts_are_shown_and_the_cost_if_it_is_known():
    text = in_one_line()
    assert "alerts per 1,000 images 470.0 400.0 to 540.0" in text
    assert "cost per 1,000" not in text
    shown_result = result()
    for figures in (shown_result.metrics["metrics"], shown_result.metrics["at_prevalence"]):
        figures["expected_cost"] = 1234.5
    shown_result.metrics["intervals"]["expected_cost"] = [1000.0, 1500.0]
    screen = io.StringIO()
    summary.show(shown_result, Console(file=screen, width=200))
    assert "cost per 1,000 images 1,234.5 1,000.0 to 1,500.0" in " ".join(screen.getvalue().split())


def test_the_promised_figures_and_the_review_band_are_shown_in_words():
    figures = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "recall_with_review": 0.95}
    figures |= {"share": 0.018, "intervals": {name: [0.01, 0.99] for name in (*figures, "share")}}
    point = {
        "review": {"share": 0.02, "lower": 0.4, "upper": 0.6},
        "promised": {**figures, "review": figures},
    }
    text = in_one_line(operating_point=point, review={"at_prevalence": figures})
    assert (
        "From val, to expect on new images, with 95 % intervals: precision 0.900 (0.010 to 0.990), "
        "recall 0.800 (0.010 to 0.990), F1 0.850 (0.010 to 0.990)."
    ) in text
    assert (
        "From val, to be reviewed by a person, from 0.4000 to below 0.6000: 1.80% of images (1.00% "
        "to 99.00%); of the others: precision 0.900"
    ) in text
    assert "On test, reviewed at the real world's balance: 1.80% of images" in text
    assert "From val" not in in_one_line()


def test_anomalies_are_shown_with_advice():
    assert (
        "1 anomaly in the data: new class in class_name: 'dog [final]' (12 images), expected one "
        "of 'cats', 'dogs'; correct the data, or, to accept it, edit /models/schema/schema.pbtxt"
    ) in in_one_line(data_check=findings.of_check(ORIGIN, [NEW_CLASS]))


def test_anomalies_in_the_reason_of_a_gate_are_shown_once():
    found = findings.of_check(ORIGIN, [NEW_CLASS])
    reason = f"1 anomaly in the data: {findings.summary(found)}"
    assert in_one_line(data_check=found, reason=reason).count("'dog [") == 1


@pytest.mark.parametrize("found", [findings.not_checked(), findings.of_check(ORIGIN, [])])
def test_data_without_anomalies_is_not_mentioned(found: findings.Findings):
    assert "in the data" not in shown(data_check=found)


def test_the_warning_about_a_large_cluster_of_near_duplicates_is_shown():
    warning = "one cluster [of near-duplicates] holds 12 of 100 images"
    assert f"Warning: {warning}" in shown(sampling={"near_duplicates": {"warning": warning}})
    assert "Warning" not in shown()


def test_gates_are_shown_with_what_they_rest_on():
    gate = {"gate": "recall >= 0.85, lower bound", "value": 0.9, "interval": [0.826, 0.945]}
    undecided = {"outcome": "too_few_images", "passed": False, "images": 1100}
    found = {**gate, **undecided, "more_images": {"positives": 1, "negatives": 2000}}
    passed = {**found, "gate": "anomalies <= 0", "value": 0.0, "interval": None, "images": None}
    text = in_one_line(gates=[found, {**passed, "outcome": "passed", "passed": True}])
    assert (
        "recall >= 0.85, lower bound 0.9 0.826 to 0.945 1,100 too few images to tell: 1 more "
        "positive and 2,000 more negatives would decide"
    ) in text
    assert "anomalies <= 0 0 – – passed" in text
