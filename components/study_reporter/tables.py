"""The study's tables for a spreadsheet or a notebook."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from components.study_reporter import calibrated, quality, scores
from components.study_reporter.calibrated import CalibratedArm
from components.study_reporter.comparisons import EvaluatedArm, Tests
from components.study_reporter.record import Arm, Replicate

_SETTINGS = ("model", "sampling_strategy", "class_weight", "learning_rate")
_CALIBRATED = ("f1", *calibrated.QUALITY, *quality.METRICS)
_AT = [
    f"{metric}_{threshold}"
    for threshold in scores.THRESHOLDS
    for metric in (*scores.COUNTS, *scores.RATES)
]
COLUMNS = (
    "arm",
    "replicate",
    "draw",
    "random_state",
    "status",
    "detail",
    "train_split",
    "val_split",
    "test_split",
    *_SETTINGS,
    "epochs",
    "iterations",
    "threshold",
    *_AT,
    *scores.THRESHOLD_FREE,
    "calibration",
    *(f"{metric}_{stage}" for metric in _CALIBRATED for stage in calibrated.STAGES),
)
"""Columns of `runs.csv`; a solved head has `iterations` in place of `epochs`; `_at_half` is at 0.5,
`_at_own` at `threshold`; `calibration` is the map, and `_before` and `_after` it are at the study's
prevalence, and F1 at a threshold of 0.5."""


def runs(arms: Sequence[Arm], tests: Tests) -> str:
    """Returns one row per arm, test split and replicate, as CSV.

    Undefined figures and all figures of diverged replicates are empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for arm in arms:
        for split in arm.test_splits:
            evaluated = tests.get(split, {}).get(arm.name)
            for replicate in arm.replicates:
                writer.writerow(_run(arm, split, replicate, evaluated))
    return text.getvalue()


def predictions(arms: Sequence[Arm]) -> pd.DataFrame:
    """Returns the predictions of all arms, with a first column `arm`."""
    frames = [arm.predictions.assign(arm=arm.name) for arm in arms if len(arm.predictions)]
    if not frames:
        return arms[0].predictions.assign(arm="")
    rows = pd.concat(frames, ignore_index=True)
    rows["arm"] = rows["arm"].astype("category")
    return rows[["arm", *rows.columns.drop("arm")]]


def _run(
    arm: Arm, split: str, replicate: Replicate, evaluated: EvaluatedArm | None
) -> dict[str, Any]:
    row = {
        "arm": arm.name,
        "replicate": replicate.number,
        "draw": replicate.draw,
        "random_state": replicate.random_state,
        "status": "trained" if replicate.diverged is None else "diverged",
        "detail": replicate.diverged or "",
        "train_split": arm.metadata["train_split"],
        "val_split": arm.val_split,
        "test_split": split,
        "epochs": len(replicate.epochs) if replicate.iterations is None else "",
        "iterations": _cell(replicate.iterations),
    }
    row |= {key: _cell(arm.metadata["settings"].get(key)) for key in _SETTINGS}
    if evaluated is None or replicate.diverged is not None:
        return row
    index = evaluated.replicates.index(replicate.number)
    row["threshold"] = evaluated.thresholds[scores.AT_OWN][index]
    for threshold in scores.THRESHOLDS:
        for metric, values in evaluated.values[threshold].items():
            value = int(values[index]) if metric in scores.COUNTS else _cell(values[index])
            row[f"{metric}_{threshold}"] = value
    row |= {metric: values[index] for metric, values in evaluated.values[None].items()}
    return row | _calibration(evaluated.calibrated, index)


def _calibration(arm: CalibratedArm, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {"calibration": arm.maps[index]}
    for stage in calibrated.STAGES:
        values = {**arm.at_half[stage], **arm.quality[stage], **arm.recalibration[stage]}
        row |= {f"{metric}_{stage}": _cell(values[metric][index]) for metric in _CALIBRATED}
    return row


def _cell(value: Any) -> Any:
    """Returns an empty cell for None and NaN, and JSON for nested values."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else value
