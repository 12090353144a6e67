"""The study's report as a self-contained HTML page.

The template escapes all text; the SVG figures escape theirs.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from components import html_page
from components.reporter import provenance
from components.reporter import wording as run_wording
from components.reporter.canvas import MUTED, NEGATIVE, POSITIVE
from components.study_reporter import calibrated, plots, quality, scores, wording
from components.study_reporter import curve as learning
from components.study_reporter.comparisons import COMPARED, Tests
from components.study_reporter.plots import Mark
from components.study_reporter.ranking import SIGNIFICANCE, compared_figures, compared_label

_FOLDER = Path(__file__).parent
_RUN_STYLE = Path(provenance.__file__).parent / "report.css"
_START = 49
"""Index of 0.5 in the thresholds of the pooled counts."""


def render(figures: Mapping[str, Any], tests: Tests) -> str:
    """Returns the page as HTML.

    Args:
      figures: content of `study.json`.
      tests: the evaluated arms, for curves.
    """
    filters = {
        "rate": run_wording.rate,
        "span": wording.span,
        "range_of": wording.range_of,
        "signed": wording.signed,
        "p_value": wording.p_value,
        "percent": wording.percent,
        "amount": wording.amount,
        "plural": wording.plural,
    }
    script = (_FOLDER / "thresholds.js").read_text(encoding="utf-8")
    return html_page.template(_FOLDER / "study.html.jinja", filters).render(
        study=figures,
        labels=wording.LABELS,
        compared=COMPARED,
        columns=_columns(),
        compared_at={split: _compared_at(figures, split) for split in tests},
        compared_label=compared_label,
        significance=SIGNIFICANCE,
        pairs={split: _pairs(figures["comparisons"], split, key="threshold") for split in tests},
        calibrated_pairs={
            split: _pairs(figures["calibration"]["comparisons"], split, key="stage")
            for split in tests
        },
        quality=("f1", *calibrated.QUALITY),
        recalibration=quality.METRICS,
        stages=calibrated.STAGES,
        mcnemar={split: _mcnemar(figures, split) for split in tests},
        figures={split: _split_figures(figures, tests, split) for split in tests},
        losses=_losses(figures),
        learning=_learning_figures(figures.get("curve")),
        start=_START,
        pooled_start={split: _pooled_start(figures, split) for split in tests},
        settings=provenance.flattened(figures["settings"] or {}),
        arm_settings=_arm_settings(figures),
        versions=provenance.versions(),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        style=Markup(_RUN_STYLE.read_text(encoding="utf-8") + _read("study.css")),
        script=Markup(script),
        script_hash=_hash(script),
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Returns the hash of the only script that the page's security policy allows."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _columns() -> list[tuple[str, str | None]]:
    """Returns the metrics of the main table; those with None don't depend on a threshold."""
    return [
        (metric, None if metric in scores.THRESHOLD_FREE else "at")
        for metric in (*COMPARED, "loss")
    ]


def _pairs(
    comparisons: Sequence[Mapping[str, Any]], split: str, *, key: str
) -> list[dict[str, Any]]:
    """Returns one row per pair of arms, with its comparisons by metric and `key`."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in comparisons:
        if row["split"] == split:
            pair = (row["first"], row["second"])
            cells = found.setdefault(pair, {"first": pair[0], "second": pair[1], "cells": {}})
            cells["cells"][f"{row['metric']} {row[key] or ''}".strip()] = row
    return list(found.values())


def _mcnemar(figures: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    return [row for row in figures["mcnemar"] if row["split"] == split]


def _split_figures(figures: Mapping[str, Any], tests: Tests, split: str) -> dict[str, Any]:
    position = list(tests).index(split)
    curves = plots.curves(tests[split])
    sizes = figures["splits"][split]
    chance = _compared_at(figures, split) or sizes["positives"] / (
        sizes["positives"] + sizes["negatives"]
    )
    label = compared_label("f1", _compared_at(figures, split))
    drawn: dict[str, Any] = {
        "f1": plots.thresholds(f"f1-{position}", _f1_marks(figures, split), label),
        "curves": {
            name: plots.precision_recall(100 * position + index, name, curves, chance)
            for index, name in enumerate(curves)
        },
        "differences": None,
    }
    if pairs := _pairs(figures["comparisons"], split, key="threshold"):
        drawn["differences"] = plots.differences(
            f"differences-{position}", _difference_marks(pairs), f"difference of {label}"
        )
    return drawn


def _f1_marks(figures: Mapping[str, Any], split: str) -> dict[str, tuple[Mark, Mark]]:
    rows = {arm["arm"]: arm["tests"][split] for arm in figures["arms"] if split in arm["tests"]}
    return {
        name: (
            _mark(compared_figures(test, scores.AT_HALF)["f1"]),
            _mark(compared_figures(test, scores.AT_OWN)["f1"]),
        )
        for name, test in rows.items()
    }


def _compared_at(figures: Mapping[str, Any], split: str) -> float | None:
    """Returns the share of positives at which the arms of a test split are compared."""
    return next(
        arm["tests"][split]["compared_at"] for arm in figures["arms"] if split in arm["tests"]
    )


def _mark(found: Mapping[str, Any]) -> Mark:
    return Mark(found["mean"], found["interval"])


def _difference_marks(pairs: list[dict[str, Any]]) -> dict[str, tuple[Mark, Mark]]:
    marks = {}
    for pair in pairs:
        half, own = (pair["cells"][f"f1 {threshold}"] for threshold in scores.THRESHOLDS)
        marks[f"{pair['first']}\n{wording.MINUS} {pair['second']}"] = (
            Mark(half["difference"], half["interval"]),
            Mark(own["difference"], own["interval"]),
        )
    return marks


def _learning_figures(curve: Mapping[str, Any] | None) -> list[tuple[Markup, str, str]]:
    """Returns the figures of a learning curve, with their titles and captions."""
    if curve is None:
        return []
    series = curve["series"]
    of_positives = [
        _line(series, learning.POSITIVES, learning.POSITIVES, "all others", POSITIVE),
        _line(series, learning.BALANCED, learning.POSITIVES, "as many others", NEGATIVE),
    ]
    of_negatives = [_line(series, learning.NEGATIVES, learning.NEGATIVES, "all positives", MUTED)]
    drawn = []
    for name, noun, lines in (
        ("positives", "positives to train on", of_positives),
        ("negatives", "others to train on", of_negatives),
    ):
        if known := [line for line in lines if line.sizes]:
            figure = plots.learning_curve(f"curve-{name}", known, noun, "F1")
            title = f"F1 by the number of {noun.removesuffix(' to train on')}"
            drawn.append((figure, title, f"on a logarithmic scale, with {_listed(known)}."))
    return drawn


def _line(series: Mapping[str, Any], name: str, varied: str, label: str, colour: str) -> plots.Line:
    rows = series.get(name, [])
    return plots.Line(
        label, [row[varied] for row in rows], [_mark(row["f1"]) for row in rows], colour
    )


def _listed(lines: Sequence[plots.Line]) -> str:
    return " or with ".join(line.label for line in lines)


def _losses(figures: Mapping[str, Any]) -> dict[str, Markup]:
    ceiling = plots.loss_ceiling(figures["arms"])
    return {
        arm["arm"]: plots.losses(index, arm, ceiling)
        for index, arm in enumerate(figures["arms"])
        # One epoch is no curve; a head that was solved has only one.
        if len(arm["epochs"]) > 1 and any(row["loss"]["mean"] is not None for row in arm["epochs"])
    }


def _pooled_start(figures: Mapping[str, Any], split: str) -> dict[str, dict[str, Any]]:
    """Returns pooled counts and rates at 0.5, the initial position of the slider."""
    rows = {}
    for name, found in figures["pooled"]["splits"][split].items():
        tp, fp, tn, fn = (found[count][_START] for count in scores.COUNTS)
        rows[name] = {
            "tp": tp,
            "fp": fp,
            "tn": tn,
            "fn": fn,
            "recall": tp / (tp + fn),
            "precision": tp / (tp + fp) if tp + fp else None,
            "f1": 2 * tp / (2 * tp + fp + fn),
        }
    return rows


def _arm_settings(figures: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the settings in which the arms differ, one value per arm; `–` if it has none."""
    flat = [dict(provenance.flattened(arm["settings"])) for arm in figures["arms"]]
    keys = dict.fromkeys(key for arm in flat for key in arm)
    rows = {key: [arm.get(key, run_wording.DASH) for arm in flat] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}
