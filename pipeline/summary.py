"""A finished run in a screenful: figures, slices, the verdict, and where things lie."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.local import RunResult

JSON_METRICS = ("precision", "recall", "f1", "pr_auc", "threshold", "tp", "fp", "tn", "fn")


def as_json(result: RunResult) -> dict[str, Any]:
    """What `outnumbered run --json` prints of a finished run."""
    metrics = result.metrics["metrics"]
    return {
        "status": "done" if result.blessed else "not_blessed",
        "blessed": result.blessed,
        "reason": result.metrics["reason"],
        "metrics": {name: metrics[name] for name in JSON_METRICS},
        "report": str(result.report),
        "pushed_model": result.metrics["pushed_model"],
    }


def show(result: RunResult, console: Console) -> None:
    """Prints the summary of a finished run."""
    metrics = result.metrics
    console.print()
    console.print(Text(metrics["answer"], style="bold"))
    console.print()
    console.print(_confusion(metrics["metrics"]))
    console.print(_figures(metrics["metrics"], metrics.get("intervals", {})))
    if metrics["slices"]:
        console.print(_slices(metrics["slices"]))
    if warning := metrics["sampling"]["near_duplicates"]["warning"]:
        console.print(Text(f"Warning: {warning}", style="yellow"))
    console.print(_verdict(metrics))
    console.print(_places(result))


def _confusion(metrics: Mapping[str, Any]) -> RenderableType:
    table = new_table("Confusion matrix on test")
    for header in ("", "predicted positive", "predicted negative"):
        table.add_column(header, justify="right" if header else "left")
    table.add_row("positive", str(metrics["tp"]), str(metrics["fn"]))
    table.add_row("negative", str(metrics["fp"]), str(metrics["tn"]))
    return table


def _figures(metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> RenderableType:
    table = new_table(f"At the operating point, {metrics['threshold']:.4f}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name in ("precision", "recall", "f1", "pr_auc", "accuracy"):
        table.add_row(name, figure(metrics[name]), _interval(intervals.get(name)))
    return table


def _slices(slices: list[dict[str, Any]]) -> RenderableType:
    table = new_table("Slices")
    table.add_column("slice", no_wrap=True)
    for header in ("images", "positives", "recall", "missed", "precision", "false"):
        table.add_column(header, justify="right")
    for row in slices:
        name = ", ".join(f"{column} = {value}" for column, value in row["slice"].items())
        # Without positives there is nothing to find, and every alarm is a false one.
        precision = row["precision"] if row["positives"] else None
        table.add_row(
            name,
            *(str(row["examples"]), str(row["positives"])),
            *(figure(row["recall"]), str(row["fn"])),
            *(figure(precision), str(row["fp"])),
        )
    return table


def _verdict(metrics: Mapping[str, Any]) -> RenderableType:
    word, style = ("BLESSED", "bold green") if metrics["blessed"] else ("NOT BLESSED", "bold red")
    return Text.assemble((word, style), f": {metrics['reason']}")


def _places(result: RunResult) -> RenderableType:
    pushed = result.metrics["pushed_model"] or "none, the model was not blessed"
    return Group(
        Text(f"Report:       {result.report}"),
        Text(f"Pushed model: {pushed}"),
    )


def new_table(title: str) -> Table:
    """An empty table in the style of all summaries."""
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def figure(value: float | None) -> str:
    """A figure as tables show it."""
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
