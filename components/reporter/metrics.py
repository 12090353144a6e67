"""The content of `metrics.json`: the results of a run for programs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from components.reporter import wording
from components.reporter.metrics_schema import SCHEMA_VERSION
from components.reporter.record import RunRecord

_OF_SLICES = ("worst_slices", "slice_search", "bands", "slices_left_out")


def assemble(record: RunRecord, title: str, label_doubt: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `metrics.json`, see `components.reporter.metrics_schema`.

    `pr_auc` is average precision, see `components.evaluator.metrics`.

    Args:
      record: the run.
      title: title of the page.
      label_doubt: see `components.reporter.label_doubt.summarize`.
    """
    evaluation, verdict = record.evaluation, record.verdict
    return {
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "answer": "".join(answer(record)),
        "positive_class": record.positive_class,
        **{key: verdict[key] for key in ("blessed", "reason", "gates")},
        "operating_point": record.operating_point,
        "split": evaluation["split"],
        "examples": evaluation["examples"],
        "positives": evaluation["positives"],
        **{
            key: evaluation[key]
            for key in ("metrics", "intervals", "at_prevalence", "calibration", "review", "slices")
        },
        **{key: evaluation[key] for key in _OF_SLICES},
        "label_doubt": dict(label_doubt),
        "training": training(record.history),
        "champion": record.champion,
        "sampling": record.sampling,
        "quarantine": record.quarantine,
        "reading": asdict(record.reading) if record.reading else None,
        "data_check": dict(record.data_check),
        "pushed_model": record.pushed_to,
    }


def answer(record: RunRecord) -> wording.Answer:
    """Returns the result of the run as a sentence."""
    return wording.answer(
        blessed=record.verdict["blessed"],
        positive_class=record.positive_class,
        at_prevalence=record.evaluation["at_prevalence"],
        intervals=record.evaluation["intervals"],
    )


def training(history: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns a summary of the training; None if no history was recorded.

    `epoch` is the epoch whose weights the model has; the metrics are of that epoch.
    """
    if history is None:
        return None
    epochs = history["epochs"]
    number = exported_epoch(history)
    chosen = epochs[number - 1]
    return {
        "model": history.get("model"),
        "parameters": history.get("parameters"),
        "trainable_parameters": history.get("trainable_parameters"),
        "epochs": len(epochs),
        "epoch": number,
        "keep_epoch": history.get("keep_epoch"),
        "solver": history.get("solver"),
        "loss": chosen.get("loss"),
        "val_loss": chosen.get("val_loss"),
        "val_pr_auc": chosen.get("val_pr_auc"),
        "seconds": history.get("seconds"),
    }


def exported_epoch(history: dict[str, Any]) -> int:
    """Returns the epoch, from 1 over the whole training, whose weights the model has."""
    best = history.get("best_epoch", len(history["epochs"]))
    return history.get("exported_epoch", best)
