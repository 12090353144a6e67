"""The study's figures. Each arm has its own panel or row, so any number of arms fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from components.evaluator import metrics
from components.reporter.canvas import GRID, MUTED, NEGATIVE, POSITIVE, draw, legend_above
from components.study_reporter.comparisons import EvaluatedArm
from components.study_reporter.record import SplitScores
from components.study_reporter.wording import quoted

RECALLS = np.linspace(0, 1, 201)
"""Recalls at which precision is averaged over replicates."""

_WIDTH_INCHES = 4.9
_ROW_INCHES = 0.42
_NAME_FITS = 26
# Space above the highest loss, as a factor.
_HEADROOM = 1.05


@dataclass(frozen=True)
class Mark:
    """A dot with its interval.

    Attributes:
      value: the position of the dot; None if undefined.
      interval: the bounds of the interval; None if undefined.
    """

    value: float | None
    interval: Sequence[float] | None


def losses(index: int, arm: Mapping[str, Any], ceiling: float) -> Markup:
    """Draws the mean loss on train and val by epoch, with bars of one standard deviation.

    Args:
      index: index of the arm; makes the figure's name unique on the page.
      arm: an arm of `study.json`.
      ceiling: upper end of the scale, the same for all arms.
    """
    epochs = arm["epochs"]

    def paint(axes: Axes) -> None:
        series = (("loss", "train", MUTED, -0.08), ("val_loss", "val", POSITIVE, 0.08))
        for key, label, colour, shift in series:
            rows = [row for row in epochs if row[key]["mean"] is not None]
            if rows:
                _bars(axes, rows, key, shift, color=colour, label=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, ceiling))
        legend_above(axes, columns=2)

    description = (
        f"Loss of {quoted(arm['arm'])} by epoch, mean and standard deviation over replicates, "
        f"{len(epochs)} epochs."
    )
    return draw(f"losses-{index}", description, paint)


def loss_ceiling(arms: Sequence[Mapping[str, Any]]) -> float:
    """Returns the upper end of a scale for the mean losses of all arms with their bars.

    Outliers, such as the first epoch or a replicate that is about to diverge, are clipped.
    """
    tops = [
        row[key]["mean"] + (row[key]["sd"] or 0)
        for arm in arms
        for row in arm["epochs"]
        for key in ("loss", "val_loss")
        if row[key]["mean"] is not None
    ]
    if not tops:
        return 1.0
    return _HEADROOM * min(max(tops), 4 * float(np.quantile(tops, 0.9)) or 1.0)


def precision_recall(
    index: int, arm: str, curves: Mapping[str, NDArray[np.float64]], chance: float
) -> Markup:
    """Draws mean precision over recall, with a band of one standard deviation over replicates.

    Args:
      index: makes the figure's name unique on the page.
      arm: the arm of the panel.
      curves: `precision_at_recall` of each arm; those of the other arms are in the background.
      chance: share of positives, the precision of guessing.
    """
    own = curves[arm]
    mean = own.mean(axis=0)

    def paint(axes: Axes) -> None:
        for other, rows in curves.items():
            if other != arm:
                axes.plot(RECALLS, rows.mean(axis=0), color=MUTED, linewidth=0.9, alpha=0.55)
        if len(own) > 1:
            spread = own.std(axis=0, ddof=1)
            low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
            axes.fill_between(RECALLS, low, high, color=POSITIVE, alpha=0.22, linewidth=0)
        axes.plot(RECALLS, mean, color=POSITIVE)
        axes.axhline(chance, color=MUTED, linestyle=(0, (1, 2)), linewidth=1.2)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.03), xlabel="recall", ylabel="precision")

    description = (
        f"Precision against recall of {quoted(arm)}, mean and standard deviation over replicates: "
        f"{np.interp(0.5, RECALLS, mean):.2f} at a recall of 0.5, "
        f"{np.interp(0.9, RECALLS, mean):.2f} at 0.9."
    )
    return draw(f"precision-recall-{index}", description, paint)


def precision_at_recall(
    scores: SplitScores, prevalence: float | None = None
) -> NDArray[np.float64]:
    """Computes the precision of each replicate at each of `RECALLS`, (replicates, recalls).

    Args:
      scores: probabilities of the replicates.
      prevalence: share of positives for the precision; None for the split's own.

    It is that of the highest threshold with at least the given recall, without interpolation,
    since no precision between those of two thresholds can be achieved.
    """
    rows = []
    for labels, probabilities in scores.by_replicate():
        points = metrics.curve(labels, probabilities, prevalence)
        # A recall such as 3 / 10 must count as 0.3 despite rounding.
        reached = np.searchsorted(points.recall, RECALLS - 1e-9)
        rows.append(points.precision[reached])
    return np.stack(rows)


def thresholds(name: str, rows: Mapping[str, tuple[Mark, Mark]], label: str) -> Markup:
    """Draws a metric at 0.5 and at the own threshold, one row per arm.

    Args:
      name: unique among the figures of a page.
      rows: the marks at 0.5 and at the own threshold, by arm.
      label: label of the axis.
    """
    values = "; ".join(
        f"{arm}: {_value_text(half)} at 0.5, {_value_text(own)} at its own threshold"
        for arm, (half, own) in rows.items()
    )
    return _dots(name, f"{label}. {values}.", rows, label, zero=False)


def differences(name: str, rows: Mapping[str, tuple[Mark, Mark]], label: str) -> Markup:
    """Draws differences with their intervals and a line at 0, one row per pair of arms.

    The names of a pair are on two lines.
    """
    values = "; ".join(
        f"{' '.join(pair.split())}: {_value_text(half)} at 0.5, "
        f"{_value_text(own)} at own thresholds"
        for pair, (half, own) in rows.items()
    )
    return _dots(name, f"{label}. {values}.", rows, label, zero=True)


@dataclass(frozen=True)
class Line:
    """A line of a learning curve.

    Attributes:
      label: its label in the legend.
      sizes: numbers of images, increasing.
      marks: the mean at each, with its interval.
      colour: of the line and its band.
    """

    label: str
    sizes: Sequence[int]
    marks: Sequence[Mark]
    colour: str


def learning_curve(name: str, lines: Sequence[Line], xlabel: str, label: str) -> Markup:
    """Draws a metric over the number of training images, with bands of the intervals.

    Args:
      name: unique among the figures of a page.
      lines: one line per series, at least one with a point.
      xlabel: what the sizes are.
      label: label of the metric.
    """
    values = "; ".join(
        f"{line.label}: "
        + ", ".join(
            f"{_value_text(mark)} with {size:,}"
            for size, mark in zip(line.sizes, line.marks, strict=True)
        )
        for line in lines
    )

    def paint(axes: Axes) -> None:
        for line in lines:
            pairs = list(zip(line.sizes, line.marks, strict=True))
            known = [(size, mark.value) for size, mark in pairs if mark.value is not None]
            banded = [(size, mark.interval) for size, mark in pairs if mark.interval is not None]
            if banded:
                low, high = zip(*(interval for _, interval in banded), strict=True)
                sizes = [size for size, _ in banded]
                axes.fill_between(sizes, low, high, color=line.colour, alpha=0.2, linewidth=0)
            places = zip(*known, strict=True) if known else ([], [])
            axes.plot(*places, "o-", color=line.colour, markersize=4, label=line.label)
        axes.set_xscale("log")
        ticks = sorted({size for line in lines for size in line.sizes})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=xlabel, ylabel=label)
        legend_above(axes, columns=2)

    return draw(name, f"{label} over {xlabel}. {values}.", paint)


def curves(evaluated: Mapping[str, EvaluatedArm]) -> dict[str, NDArray[np.float64]]:
    """Returns `precision_at_recall` of each arm of a test split, as arms are compared."""
    return {
        name: precision_at_recall(arm.scores, arm.compared_at) for name, arm in evaluated.items()
    }


def _bars(
    axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, shift: float, **style: Any
) -> None:
    # Shifted, so that the bars of train and val don't overlap.
    numbers = [row["epoch"] + shift for row in rows]
    means = [row[key]["mean"] for row in rows]
    spreads = [row[key]["sd"] or 0 for row in rows]
    axes.errorbar(numbers, means, spreads, capsize=1.6, elinewidth=0.9, linewidth=1.6, **style)


def _dots(
    name: str, description: str, rows: Mapping[str, tuple[Mark, Mark]], label: str, *, zero: bool
) -> Markup:
    series = ((0, NEGATIVE, "at 0.5", -0.15), (1, POSITIVE, "at its own threshold", 0.15))

    def paint(axes: Axes) -> None:
        if (figure := axes.get_figure(root=True)) is not None:
            figure.set_size_inches(_WIDTH_INCHES, 1.0 + _ROW_INCHES * len(rows))
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        for which, colour, legend, shift in series:
            marks = [(y + shift, pair[which]) for y, pair in enumerate(rows.values())]
            for y, mark in marks:
                if mark.interval is not None:
                    axes.plot(mark.interval, [y, y], color=colour, alpha=0.45, linewidth=3)
            found = [(mark.value, y) for y, mark in marks if mark.value is not None]
            axes.plot(*zip(*found, strict=True), "o", color=colour, markersize=5, label=legend)
        axes.set_yticks(range(len(rows)), [_shortened(arm) for arm in rows], fontsize=8.5)
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_color(GRID)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        legend_above(axes, columns=2)

    return draw(name, description, paint)


def _value_text(mark: Mark) -> str:
    return "undefined" if mark.value is None else f"{mark.value:.3f}"


def _shortened(name: str) -> str:
    """Truncates each line of a label to fit next to the axes."""
    lines = name.split("\n")
    fit = [line if len(line) <= _NAME_FITS else f"{line[: _NAME_FITS - 1]}…" for line in lines]
    return "\n".join(fit)
