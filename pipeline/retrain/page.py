"""Renders a history as one HTML page without external resources."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from components import html_page
from components.reporter import provenance, wording
from components.reporter.canvas import MUTED, NEGATIVE, PAPER, POSITIVE, draw, legend_above
from pipeline.retrain.history import Outcome, Row

_FOLDER = Path(__file__).parent
_STYLE = Path(wording.__file__).with_name("report.css")
_NAMES = {"f1": "F1", "precision": "precision", "recall": "recall", "pr_auc": "PR-AUC"}
_FIGURES = (("f1", "pr_auc"), ("precision", "recall"))
_COLOURS = (POSITIVE, NEGATIVE)
# More names along an axis would overlap.
_NAMED = 5
_REASONS_SHOWN = 20


def render(rows: Sequence[Row], *, title: str) -> str:
    """Returns the page.

    Args:
      rows: the lines of the history, oldest first; at least one.
      title: heading.
    """
    filters = {"rate": wording.rate, "interval": wording.interval}
    return html_page.template(_FOLDER / "history.html.jinja", filters).render(
        title=title,
        answer=answer(rows),
        newest_first=rows[::-1],
        reasons_shown=_REASONS_SHOWN,
        metrics=_NAMES,
        has_spans=any(row.span for row in rows),
        figures=list(_figures(rows)),
        prevalence=next((row.prevalence for row in reversed(rows) if row.prevalence), None),
        balance=wording.balance,
        versions=provenance.versions(),
        style=Markup(_STYLE.read_text(encoding="utf-8")),
    )


def answer(rows: Sequence[Row]) -> str:
    """Says in two sentences what was released last, and how the last run ended."""
    released = [row for row in rows if row.is_released]
    runs = f"{len(rows):,} run{'s' if len(rows) > 1 else ''}"
    if not released:
        found = f"No model was released in {runs}."
    else:
        last = released[-1]
        f1 = last.metrics["f1"]
        shown = f"{wording.rate(f1.value)} ({wording.interval(f1.interval)})"
        found = (
            f"{len(released):,} of {runs} released a model, the last of them version "
            f"{last.version} on {last.at:%Y-%m-%d}, with an F1 of {shown}."
        )
    return found if rows[-1].is_released else f"{found} The last run {_ended(rows[-1])}."


def _ended(row: Row) -> str:
    verb = "failed" if row.outcome is Outcome.FAILED else "was not released"
    return f"{verb}: {row.reason.strip().splitlines()[0].rstrip('.')}"


def _figures(rows: Sequence[Row]) -> Iterator[Markup]:
    measured = [row for row in rows if row.metrics]
    if not measured:
        return
    for pair in _FIGURES:
        yield _metrics(measured, pair)
    yield _images(measured)


def _metrics(rows: Sequence[Row], names: tuple[str, str]) -> Markup:
    words = " and ".join(_NAMES[name] for name in names)
    description = (
        f"{words} of each run's model at the prevalence of the real world, with 95 % intervals; "
        "the table has the numbers."
    )

    def paint(axes: Axes) -> None:
        for place, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
            _metric(axes, rows, name, colour, shift=(place - 0.5) * 0.16)
        axes.set(ylim=(0, 1.03), ylabel=words)
        _name_runs(axes, rows)
        legend_above(axes, columns=2)

    return draw(f"history-{'-'.join(names)}", description, paint)


def _metric(axes: Axes, rows: Sequence[Row], name: str, colour: str, shift: float) -> None:
    found = [(at, row, row.metrics[name]) for at, row in enumerate(rows) if name in row.metrics]
    defined = [(at + shift, row, each) for at, row, each in found if each.value is not None]
    with_ends = [(at, each.interval) for at, _, each in defined if each.interval]
    if with_ends:
        places, ends = zip(*with_ends, strict=True)
        low, high = np.transpose(ends)
        axes.vlines(places, low, high, color=colour, alpha=0.4, linewidth=3)
    for outcome, fill in ((Outcome.RELEASED, colour), (Outcome.REJECTED, PAPER)):
        chosen = [(at, each.value) for at, row, each in defined if row.outcome is outcome]
        if chosen:
            label = f"{_NAMES[name]}, {'released' if fill == colour else 'not released'}"
            axes.plot(
                *zip(*chosen, strict=True), "o", color=colour, markerfacecolor=fill, label=label
            )


def _images(rows: Sequence[Row]) -> Markup:
    description = "Number of images and of positive images that each run could draw from."

    def paint(axes: Axes) -> None:
        at = range(len(rows))
        for counts, colour, label in (
            ([row.images for row in rows], NEGATIVE, "all images"),
            ([row.positives for row in rows], POSITIVE, "positives"),
        ):
            axes.plot(at, np.maximum(np.array(counts, float), 0.5), "o-", color=colour, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set(ylabel="images")
        axes.minorticks_off()
        _name_runs(axes, rows)
        legend_above(axes, columns=2)

    return draw("history-images", description, paint)


def _name_runs(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(_NAMED, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _name(rows, at)))
    axes.grid(visible=False, axis="x")
    for at, row in enumerate(rows):
        if row.is_released:
            axes.axvline(at, color=MUTED, linewidth=0.5, linestyle=(0, (1, 2)))


def _name(rows: Sequence[Row], at: float) -> str:
    if not float(at).is_integer() or not 0 <= at < len(rows):
        return ""
    return f"{rows[int(at)].at:%m-%d}"
