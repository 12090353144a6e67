"""Renders the report as one HTML page without external resources.

The template escapes all texts, and the SVG figures escape theirs.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from components import names
from components.evaluator.metrics import curve
from components.example_validator import findings
from components.reporter import figures, provenance, slices, wording
from components.reporter.metrics import answer, exported_epoch
from components.reporter.record import RunRecord
from components.reporter.thumbnails import WrongImages

_FOLDER = Path(__file__).parent
_HEADLINE = {"recall": "Recall", "precision": "Precision", "f1": "F1", "pr_auc": "PR-AUC"}
_COMPARED = _HEADLINE | {
    "auc": "ROC-AUC",
    "accuracy": "Accuracy",
    "specificity": "Specificity",
}


def render(
    record: RunRecord,
    metrics: Mapping[str, Any],
    wrong: WrongImages,
    settings: Mapping[str, Any],
) -> str:
    """Returns the page as text.

    Args:
      record: the run.
      metrics: content of `metrics.json`.
      wrong: the most wrong images.
      settings: the settings that the run was compiled with, nested.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "rate": wording.rate,
        "interval": wording.interval,
        "outcome": wording.outcome,
        "balance": wording.balance,
        "differs": wording.differs,
    }
    return environment.get_template("report.html.jinja").render(
        answer=answer(record),
        metrics=metrics,
        record=record,
        schema_source=findings.source(record.data_check),
        advice=findings.advice(record.data_check) if record.data_check["anomalies"] else "",
        headline=_HEADLINE,
        compared=_COMPARED,
        test_prevalence=_test_prevalence(metrics),
        figures=_figures(record, metrics),
        rankings=(slices.by_recall(record.evaluation), slices.by_specificity(record.evaluation)),
        wrong=wrong,
        settings=provenance.flattened(provenance.as_trained(settings, record.history)),
        versions=provenance.versions(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        style=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),
    )


def _figures(record: RunRecord, metrics: Mapping[str, Any]) -> dict[str, Markup]:
    labels = record.predictions[names.LABEL].to_numpy()
    probabilities = record.predictions[names.PROBABILITY].to_numpy()
    prevalence, test_prevalence = metrics["at_prevalence"]["prevalence"], _test_prevalence(metrics)
    own_curve = None if test_prevalence is None else curve(labels, probabilities)
    drawings = {
        "confusion": figures.confusion_matrix(metrics["metrics"], record.positive_class),
        "precision_recall": figures.precision_recall(
            curve(labels, probabilities, prevalence),
            own_curve,
            prevalence=prevalence,
            test_prevalence=test_prevalence,
            operating=metrics["at_prevalence"],
        ),
        "scores": figures.scores(
            labels,
            probabilities,
            threshold=metrics["metrics"]["threshold"],
            positive_class=record.positive_class,
        ),
        "reliability": figures.reliability(labels, probabilities),
    }
    if record.history is not None:
        epochs, chosen = record.history["epochs"], exported_epoch(record.history)
        drawings["losses"] = figures.losses(epochs, chosen)
        drawings["pr_aucs"] = figures.pr_aucs(epochs, chosen)
    return drawings


def _test_prevalence(metrics: Mapping[str, Any]) -> float | None:
    """Returns the share of positives in the split; None if it nearly equals the real world's."""
    share = metrics["positives"] / metrics["examples"]
    return share if wording.differs(share, metrics["at_prevalence"]["prevalence"]) else None
