"""Draws the report's figures from plain arrays and counts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from components.evaluator.metrics import Curve
from components.reporter import wording
from components.reporter.canvas import (
    INK,
    MUTED,
    NEGATIVE,
    PAPER,
    POSITIVE,
    draw,
    legend_above,
    moves,
)

# More points than pixels would make a curve's file larger, but not its picture better.
_MAX_POINTS = 400
_SCORE_BINS = 25
_MAX_NAME = 18


class Band(NamedTuple):
    """Lower and upper ends of the precision, float64 (k,) each, at each `recall`."""

    recall: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def precision_recall(
    world: Curve,
    test: Curve | None,
    *,
    prevalence: float,
    test_prevalence: float | None,
    operating: Mapping[str, Any],
    band: Band | None = None,
) -> Markup:
    """Draws precision against recall at the real world's prevalence, with the operating point.

    The page's slider moves the point.

    Args:
      world: the curve at the real world's prevalence.
      test: the split's curve, drawn muted behind it; None if it is the same.
      prevalence: share of positives in the real world.
      test_prevalence: share of positives in the split; None if `test` is.
      operating: `recall` and `precision` (None if no image is predicted positive) at prevalence.
      band: 95 % intervals of the precision in the real world.
    """
    description = (
        f"Precision-recall curve at a share of positives of {prevalence:.3g}. The operating point "
        f"has a recall of {wording.rate(operating['recall'])} and a precision of "
        f"{wording.rate(operating['precision'])}."
    )

    def paint(axes: Axes) -> None:
        if test is not None:
            label = f"in the test split ({test_prevalence:.2g})"
            _curve(axes, test, color=MUTED, linewidth=1.2, label=label)
        if band is not None:
            sides = band.low, band.high
            axes.fill_between(band.recall, *sides, color=POSITIVE, alpha=0.16, linewidth=0)
        label = "the model" if test is None else f"in the real world ({prevalence:.2g})"
        _curve(axes, world, color=POSITIVE, label=label)
        axes.axhline(prevalence, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2, label="chance")
        _point(axes, operating["recall"], operating["precision"], "threshold")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
        legend_above(axes, columns=2)

    return draw("precision-recall", description, paint)


def scores(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    *,
    threshold: float,
    positive_class: str,
) -> Markup:
    """Draws histograms of the probabilities by class, with logarithmic counts.

    The page's slider moves the threshold.
    """
    edges = np.linspace(0, 1, _SCORE_BINS + 1)
    description = (
        f"Histogram of the model's probabilities for {positive_class} and for others; "
        f"the threshold is {threshold:.4g}."
    )

    def paint(axes: Axes) -> None:
        sides = ((0, "others", NEGATIVE), (1, _quoted(positive_class), POSITIVE))
        for label, name, colour in sides:
            counts, _ = np.histogram(probabilities[labels == label], edges)
            heights = np.maximum(counts, 0.5)
            axes.stairs(heights, edges, baseline=0.5, color=colour, fill=True, alpha=0.22)
            axes.stairs(heights, edges, baseline=0.5, color=colour, linewidth=1.4, label=name)
        line = axes.axvline(threshold, color=INK, linewidth=1.2, label="threshold")
        moves([line], "threshold", (threshold, 0))
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set(xlim=(0, 1), ylim=(0.5, None), xlabel="probability", ylabel="images")
        axes.minorticks_off()
        legend_above(axes, columns=3)

    return draw("scores", description, paint)


def reliability(calibration: Mapping[str, Any]) -> Markup:
    """Draws the share of positives, with its interval, among images with similar probabilities.

    Args:
      calibration: `before` and `after`, each with `bins` that have the mean `predicted`
        probability, the `observed` share of positives and its `interval`.
    """
    sides = (("before", NEGATIVE, "D-", 0.3), ("after", POSITIVE, "o-", 0.45))

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2)
        for name, colour, style, alpha in sides:
            bins = calibration[name]["bins"]
            means = [each["predicted"] for each in bins]
            shares = [each["observed"] for each in bins]
            spans = [(each["predicted"], *each["interval"]) for each in bins]
            at, low, high = zip(*spans, strict=True)
            axes.vlines(at, low, high, color=colour, alpha=alpha, linewidth=3)
            label = f"{name} calibration"
            axes.plot(means, shares, style, color=colour, linewidth=1, markersize=5, label=label)
        axes.set(
            xlim=(0, 1.02),
            ylim=(0, 1.03),
            xlabel="predicted probability",
            ylabel="share of positives",
        )
        legend_above(axes, columns=2)

    errors = (f"{calibration[name]['ece']:.3g} {name} calibration" for name, *_ in sides)
    description = (
        "Reliability diagram: share of positives by predicted probability. The expected "
        f"calibration error is {' and '.join(errors)}."
    )
    return draw("reliability", description, paint)


def losses(epochs: Sequence[Mapping[str, Any]], chosen: int) -> Markup:
    """Draws the loss on train and val by epoch; `chosen` (from 1) is the exported epoch."""
    series = (("loss", "train", MUTED), ("val_loss", "val", POSITIVE))
    return _by_epoch("losses", "Loss", epochs, chosen, series)


def pr_aucs(epochs: Sequence[Mapping[str, Any]], chosen: int) -> Markup:
    """Draws the PR-AUC on val by epoch; `chosen` (from 1) is the exported epoch."""
    series = (("val_pr_auc", "val", POSITIVE),)
    return _by_epoch("pr-aucs", "PR-AUC", epochs, chosen, series)


def _by_epoch(
    name: str,
    quantity: str,
    epochs: Sequence[Mapping[str, Any]],
    chosen: int,
    series: Sequence[tuple[str, str, str]],
) -> Markup:
    numbers = range(1, len(epochs) + 1)

    def paint(axes: Axes) -> None:
        for key, label, colour in series:
            values = [np.nan if epoch.get(key) is None else epoch[key] for epoch in epochs]
            if not np.all(np.isnan(values)):
                marker = "o" if len(epochs) < 3 else None
                axes.plot(numbers, values, color=colour, label=label, marker=marker)
        axes.axvline(
            chosen, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), label=f"epoch {chosen}, kept"
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel=quantity)
        legend_above(axes, columns=3)

    description = (
        f"{quantity} by epoch, {len(epochs)} in all; the model has the weights of epoch {chosen}."
    )
    return draw(name, description, paint)


def _quoted(name: str) -> str:
    """Returns a class name in quotes, shortened if it would not fit next to the axes."""
    if len(name) <= _MAX_NAME:
        return f"“{name}”"
    return f"“{name[: _MAX_NAME - 1]}…”"


def _curve(axes: Axes, points: Curve, **style: Any) -> None:
    """Draws a step curve, since no precision between those of two thresholds can be reached."""
    chosen = _thin(points.recall)
    recall, precision = points.recall[chosen], points.precision[chosen]
    axes.step(np.append(0.0, recall), np.append(precision[0], precision), where="pre", **style)


def _thin(recall: NDArray[np.float64]) -> NDArray[np.intp]:
    """Returns the indices of enough of a curve's points to draw it, including its ends."""
    if recall.size <= _MAX_POINTS:
        return np.arange(recall.size)
    nearest = np.searchsorted(recall, np.linspace(0, 1, _MAX_POINTS))
    return np.unique(np.append(0, np.minimum(nearest, recall.size - 1)))


def _point(axes: Axes, x: float, y: float | None, label: str) -> None:
    """Draws a dot with an outline in the background colour, not clipped at the edge of the axes.

    Args:
      axes: the axes.
      x: recall.
      y: precision; None hides the dot.
      label: its name in the legend.
    """
    at = x, 0.0 if y is None else y
    outline = axes.plot(*at, "o", color=PAPER, markersize=12, clip_on=False, zorder=5)
    dot = axes.plot(*at, "o", color=INK, markersize=8, clip_on=False, zorder=6, label=label)
    moves([*outline, *dot], "recall precision", at, is_hidden=y is None)
