"""Draws the report's figures from plain arrays and counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from components.evaluator import intervals
from components.evaluator.metrics import Curve
from components.reporter import wording
from components.reporter.canvas import INK, MUTED, NEGATIVE, PAPER, POSITIVE, draw, legend_above

# More points than pixels would make a curve's file larger, but not its picture better.
_MAX_POINTS = 400
_SCORE_BINS = 25
_RELIABILITY_BINS = 10
_MAX_NAME = 18


def confusion_matrix(counts: Mapping[str, int], positive_class: str) -> Markup:
    """Draws the four outcomes, each coloured by its share of the images of its true class."""
    name = _quoted(positive_class)
    rows = [
        (name, (counts["tp"], "found"), (counts["fn"], "missed")),
        ("others", (counts["fp"], "false alarms"), (counts["tn"], "correctly rejected")),
    ]
    description = (
        f"Confusion matrix. Of {counts['tp'] + counts['fn']} images of {positive_class}, "
        f"{counts['tp']} were found and {counts['fn']} missed. Of {counts['fp'] + counts['tn']} "
        f"others, {counts['fp']} are false alarms and {counts['tn']} were correctly rejected."
    )

    def paint(axes: Axes) -> None:
        for y, (_, *cells) in enumerate(rows):
            total = sum(count for count, _ in cells)
            for x, (count, outcome) in enumerate(cells):
                _cell(axes, (x, y), count, count / total, outcome)
        axes.set(xlim=(0, 2), ylim=(2, 0))
        axes.set_xticks([0.5, 1.5], [f"predicted {name}", "predicted other"])
        axes.set_yticks([0.5, 1.5], [label for label, *_ in rows], rotation=90, va="center")
        axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
        axes.xaxis.tick_top()
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    return draw("confusion", description, paint)


def _cell(axes: Axes, place: tuple[int, int], count: int, share: float, outcome: str) -> None:
    x, y = place
    colour = POSITIVE if x == y else NEGATIVE
    axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, alpha=0.1 + 0.3 * share, linewidth=0))
    axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=PAPER, linewidth=4))
    note = f"{outcome}, {wording.rate(100 * share, 1)} %" if 0 < share < 1 else outcome
    axes.text(x + 0.5, y + 0.43, f"{count:,}", fontsize=21, ha="center", va="center")
    axes.text(x + 0.5, y + 0.67, note, fontsize=9, color=MUTED, ha="center", va="center")


def precision_recall(
    world: Curve,
    test: Curve | None,
    *,
    prevalence: float,
    test_prevalence: float | None,
    operating: Mapping[str, Any],
) -> Markup:
    """Draws precision against recall at the real world's prevalence, with the operating point.

    Args:
      world: the curve at the real world's prevalence.
      test: the split's curve, drawn muted behind it; None if it is the same.
      prevalence: share of positives in the real world.
      test_prevalence: share of positives in the split; None if `test` is.
      operating: `recall` and `precision` (None if no image is predicted positive) at prevalence.
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
        label = "the model" if test is None else f"in the real world ({prevalence:.2g})"
        _curve(axes, world, color=POSITIVE, label=label)
        axes.axhline(prevalence, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2, label="chance")
        if operating["precision"] is not None:
            _point(axes, operating["recall"], operating["precision"], "operating point")
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
    """Draws histograms of the probabilities by class, with logarithmic counts."""
    edges = np.linspace(0, 1, _SCORE_BINS + 1)
    description = (
        "Histogram of the model's probabilities for both classes; "
        f"the threshold is {threshold:.4g}."
    )

    def paint(axes: Axes) -> None:
        sides = ((0, "others", NEGATIVE), (1, _quoted(positive_class), POSITIVE))
        for label, name, colour in sides:
            counts, _ = np.histogram(probabilities[labels == label], edges)
            heights = np.maximum(counts, 0.5)
            axes.stairs(heights, edges, baseline=0.5, color=colour, fill=True, alpha=0.22)
            axes.stairs(heights, edges, baseline=0.5, color=colour, linewidth=1.4, label=name)
        axes.axvline(threshold, color=INK, linewidth=1.2, label=f"threshold {threshold:.3g}")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set(xlim=(0, 1), ylim=(0.5, None), xlabel="probability", ylabel="images")
        axes.minorticks_off()
        legend_above(axes, columns=3)

    return draw("scores", description, paint)


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Markup:
    """Draws the share of positives, with its interval, among images with similar probabilities."""
    edges = np.linspace(0, 1, _RELIABILITY_BINS + 1)
    bins = np.clip(np.digitize(probabilities, edges) - 1, 0, _RELIABILITY_BINS - 1)
    groups = [bins == index for index in np.unique(bins)]
    means = [probabilities[group].mean() for group in groups]
    shares = [labels[group].mean() for group in groups]
    bounds = [intervals.wilson(int(labels[group].sum()), group.sum()) for group in groups]
    low, high = zip(*filter(None, bounds), strict=True)

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2)
        axes.vlines(means, low, high, color=POSITIVE, alpha=0.45, linewidth=3)
        axes.plot(means, shares, "o", color=POSITIVE, markersize=5)
        axes.set(
            xlim=(0, 1.02),
            ylim=(0, 1.03),
            xlabel="predicted probability",
            ylabel="share of positives",
        )

    description = "Reliability diagram: share of positives by predicted probability."
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


def _point(axes: Axes, x: float, y: float, label: str) -> None:
    """Draws a dot with an outline in the background colour, not clipped at the edge of the axes."""
    axes.plot(x, y, "o", color=PAPER, markersize=12, clip_on=False, zorder=5)
    axes.plot(x, y, "o", color=INK, markersize=8, clip_on=False, zorder=6, label=label)
