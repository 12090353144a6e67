"""Renders a comparison as one HTML page without external resources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from components import html_page
from components.reporter import provenance, wording

_FOLDER = Path(__file__).parent
_STYLE = Path(wording.__file__).with_name("report.css")
_NAMES = {
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Accuracy",
    "pr_auc": "PR-AUC",
}
_IMAGES_SHOWN = 50


def render(comparison: Mapping[str, Any]) -> str:
    """Returns the page of what `comparison.compare` returned."""
    filters = {
        "rate": wording.rate,
        "balance": wording.balance,
        "signed": _signed,
        "signed_interval": _signed_interval,
        "p": _p_value,
    }
    differences = [row for row in comparison["metrics"] if row["difference"] is not None]
    return html_page.template(_FOLDER / "compare.html.jinja", filters).render(
        found=comparison,
        names=_NAMES,
        reach=_reach(differences),
        slice_reach=_reach(comparison["slices"]),
        images_shown=_IMAGES_SHOWN,
        versions=provenance.versions(),
        style=Markup(_STYLE.read_text(encoding="utf-8")),
    )


def _reach(rows: list[dict[str, Any]]) -> float:
    """Returns the end of a symmetric axis that shows every interval."""
    ends = [abs(end) for row in rows for end in row["interval"]]
    return max(ends, default=0.0) or 1.0


def _signed(value: float | None) -> str:
    return wording.DASH if value is None else f"{value:+.3f}"


def _signed_interval(bounds: list[float] | None) -> str:
    return wording.DASH if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"


def _p_value(value: float | None) -> str:
    if value is None:
        return wording.DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
