"""What the terminal says of a finished run."""

import io
from pathlib import Path

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


def shown(data_check: findings.Findings, reason: str = "recall is 0.5 (>= 0.1)") -> str:
    """The summary of a run as one line of text."""
    rates = dict.fromkeys(("precision", "recall", "f1", "pr_auc", "accuracy", "threshold"), 0.5)
    metrics = {
        "answer": "Blessed.",
        "blessed": True,
        "reason": reason,
        "metrics": {**rates, **dict.fromkeys(("tp", "fp", "tn", "fn"), 1)},
        "intervals": {},
        "at_prevalence": {},
        "slices": [],
        "data_check": data_check,
        "pushed_model": "/models/1",
    }
    screen = io.StringIO()
    summary.show(RunResult(Path("runs/1"), metrics), Console(file=screen, width=200))
    return " ".join(screen.getvalue().split())


def test_anomalies_of_the_data_are_named_with_what_to_do():
    assert (
        "1 anomaly in the data: new class in class_name: 'dog [final]' (12 images), expected one "
        "of 'cats', 'dogs'; correct the data; or accept it: edit /models/schema/schema.pbtxt"
    ) in shown(findings.of_check(ORIGIN, [NEW_CLASS]))


def test_anomalies_that_a_gate_was_not_passed_for_are_named_once():
    found = findings.of_check(ORIGIN, [NEW_CLASS])
    assert shown(found, f"1 anomaly in the data: {findings.summary(found)}").count("'dog [") == 1


@pytest.mark.parametrize("found", [findings.not_checked(), findings.of_check(ORIGIN, [])])
def test_data_without_anomalies_takes_no_line(found: findings.Findings):
    assert "in the data" not in shown(found)
