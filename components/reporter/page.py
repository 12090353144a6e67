"""Renders the report as one HTML page without external resources.

The template escapes all texts, and the SVG figures escape theirs.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from components import bands, html_page, names
from components.evaluator import intervals, slice_wording
from components.evaluator.metrics import curve
from components.example_validator import findings
from components.reporter import figures, provenance, slices, thresholds, wording
from components.reporter.metrics import answer, exported_epoch
from components.reporter.record import RunRecord
from components.reporter.thresholds import Thresholds
from components.reporter.thumbnails import ShownImages
from components.trainer.history import solver_sentence

_FOLDER = Path(__file__).parent
_HEADLINE = {"recall": "Recall", "precision": "Precision", "f1": "F1", "pr_auc": "PR-AUC"}
_COMPARED = _HEADLINE | {
    "auc": "ROC-AUC",
    "accuracy": "Accuracy",
    "specificity": "Specificity",
    "ece": "Expected calibration error",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "alerts_per_thousand": "Alerts per 1,000 images",
    "expected_cost": "Cost per 1,000 images",
}
_REVIEWED = {
    "share": "Share that is reviewed",
    "recall": "Recall",
    "recall_with_review": "Recall, if a person finds all that are reviewed",
    "precision": "Precision",
    "f1": "F1",
    "alerts_per_thousand": "Alerts per 1,000 images",
    "expected_cost": "Cost per 1,000 images",
}
_PER_THOUSAND = ("alerts_per_thousand", "expected_cost")
_BAND_POINTS = 100
# Fixed, so that the same predictions give the same band.
_SEED = 0


def render(
    record: RunRecord,
    metrics: Mapping[str, Any],
    shown: ShownImages,
    settings: Mapping[str, Any],
) -> str:
    """Returns the page as text.

    Args:
      record: the run.
      metrics: content of `metrics.json`.
      shown: the images on the page.
      settings: the settings that the run was compiled with, nested.
    """
    filters = {
        "rate": wording.rate,
        "interval": wording.interval,
        "balance": wording.balance,
        "differs": wording.differs,
        "amount": wording.amount,
        "signed": wording.signed,
        "outcome": wording.outcome,
        "solver_sentence": solver_sentence,
    }
    script = (_FOLDER / "thresholds.js").read_text(encoding="utf-8")
    counts = _thresholds(record)
    return html_page.template(_FOLDER / "report.html.jinja", filters).render(
        answer=answer(record),
        metrics=metrics,
        record=record,
        schema_source=findings.source(record.data_check),
        advice=findings.advice(record.data_check) if record.data_check["anomalies"] else "",
        headline=_HEADLINE,
        per_thousand=_PER_THOUSAND,
        reviewed=_REVIEWED,
        compared=_compared(metrics),
        test_prevalence=_test_prevalence(metrics),
        figures=_figures(record, metrics),
        worst_slice=slice_wording.sentence(metrics),
        bands=[bands.described(band, ends) for band, ends in metrics["bands"].items()],
        forests=(
            slices.by_recall(record.evaluation),
            slices.by_false_positive_rate(record.evaluation),
        ),
        slice_name=slices.name,
        shown=shown,
        counts=counts,
        counts_json=counts.to_json(_prevalences(metrics), _costs(record)),
        balances={
            name: counts.at(counts.start, prevalence, _costs(record))
            for name, prevalence in _prevalences(metrics).items()
        },
        script=Markup(script),
        script_hash=_hash(script),
        settings=provenance.flattened(provenance.as_trained(settings, record.history)),
        versions=provenance.versions(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        style=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),
    )


def _hash(script: str) -> str:
    """Returns the hash of the only script that the page's security policy allows."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _compared(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Returns the metrics of the page's table, with their labels."""
    found = metrics["metrics"]
    return {name: label for name, label in _COMPARED.items() if found.get(name) is not None}


def _thresholds(record: RunRecord) -> Thresholds:
    return thresholds.count(
        record.predictions[names.LABEL].to_numpy(),
        record.predictions[names.PROBABILITY].to_numpy(),
        record.operating_point["threshold"],
    )


def _prevalences(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the share of positives by balance."""
    return {
        "test": metrics["positives"] / metrics["examples"],
        "world": metrics["at_prevalence"]["prevalence"],
    }


def _costs(record: RunRecord) -> dict[str, float] | None:
    return record.operating_point.get("costs")


def _figures(record: RunRecord, metrics: Mapping[str, Any]) -> dict[str, Markup]:
    labels = record.predictions[names.LABEL].to_numpy()
    probabilities = record.predictions[names.PROBABILITY].to_numpy()
    prevalence, test_prevalence = metrics["at_prevalence"]["prevalence"], _test_prevalence(metrics)
    own_curve = None if test_prevalence is None else curve(labels, probabilities)
    drawings = {
        "precision_recall": figures.precision_recall(
            curve(labels, probabilities, prevalence),
            own_curve,
            prevalence=prevalence,
            test_prevalence=test_prevalence,
            operating=metrics["at_prevalence"],
            band=_band(labels, probabilities, prevalence),
        ),
        "scores": figures.scores(
            labels,
            probabilities,
            threshold=metrics["metrics"]["threshold"],
            positive_class=record.positive_class,
        ),
        "reliability": figures.reliability(metrics["calibration"]),
    }
    if record.history is not None and not record.history.get("solver"):
        epochs, chosen = record.history["epochs"], exported_epoch(record.history)
        drawings["losses"] = figures.losses(epochs, chosen)
        drawings["pr_aucs"] = figures.pr_aucs(epochs, chosen)
    return drawings


def _band(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], prevalence: float
) -> figures.Band:
    recalls = np.linspace(0, 1, _BAND_POINTS + 1)[1:]
    low, high = intervals.of_precision(
        labels, probabilities, recalls, seed=_SEED, prevalence=prevalence
    )
    return figures.Band(recalls, low, high)


def _test_prevalence(metrics: Mapping[str, Any]) -> float | None:
    """Returns the share of positives in the split; None if it nearly equals the real world's."""
    share = metrics["positives"] / metrics["examples"]
    return share if wording.differs(share, metrics["at_prevalence"]["prevalence"]) else None
