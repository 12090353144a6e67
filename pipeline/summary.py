"""The summary of a finished run: figures, slices, the verdict, and the output paths."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from components.calibrator import wording
from components.evaluator import slice_wording
from components.example_validator import findings
from components.names import BANDS
from components.reporter.wording import balance, differs, outcome
from pipeline.terminal import lines, plain

if TYPE_CHECKING:
    from pipeline.local import RunResult

_PER_THOUSAND = {
    "alerts_per_thousand": "alerts per 1,000 images",
    "expected_cost": "cost per 1,000 images",
}
_COMMON = ("precision", "recall", "f1", "pr_auc", *_PER_THOUSAND)
JSON_METRICS = (*_COMMON, "threshold", "tp", "fp", "tn", "fn")
JSON_AT_PREVALENCE = ("prevalence", *_COMMON)


def as_json(result: "RunResult") -> dict[str, Any]:
    """The output of `outnumbered run --json`."""
    metrics = result.metrics["metrics"]
    return {
        "status": "done" if result.blessed else "not_blessed",
        "blessed": result.blessed,
        "reason": result.metrics["reason"],
        "metrics": {name: metrics[name] for name in JSON_METRICS},
        "at_prevalence": {
            name: result.metrics["at_prevalence"][name] for name in JSON_AT_PREVALENCE
        },
        "report": str(result.report),
        "pushed_model": result.metrics["pushed_model"],
    }


def show(result: "RunResult", console: Console) -> None:
    """Prints the summary of a finished run."""
    metrics = result.metrics
    console.print()
    console.print(plain(metrics["answer"], "bold"))
    console.print()
    console.print(_confusion(metrics["metrics"]))
    console.print(figures(metrics))
    for sentence in _operating_point(metrics):
        console.print(lines(sentence))
    if metrics["slices"]:
        console.print(_slices(metrics["slices"]))
    if metrics["slice_search"]["found"]:
        found = slice_wording.sentence(metrics)
        console.print(Text.assemble(("Worse than the rest", "bold yellow"), ": ", lines(found)))
    for columns, reason in metrics["slices_left_out"].items():
        if columns not in BANDS:  # those are on by default, and may not apply
            console.print(plain(f"Not sliced by {columns}: {reason}", "yellow"))
    if warning := metrics["sampling"]["near_duplicates"]["warning"]:
        console.print(plain(f"Warning: {warning}", "yellow"))
    if metrics["data_check"]["anomalies"] and not _reason_names_anomalies(metrics):
        console.print(_anomalies(metrics["data_check"]))
    if metrics["gates"]:
        console.print(_gates(metrics["gates"]))
    console.print(_verdict(metrics))
    console.print(_places(result))


def _confusion(metrics: Mapping[str, Any]) -> RenderableType:
    table = new_table("Confusion matrix on test")
    for header in ("", "predicted positive", "predicted negative"):
        table.add_column(header, justify="right" if header else "left")
    table.add_row("positive", str(metrics["tp"]), str(metrics["fn"]))
    table.add_row("negative", str(metrics["fp"]), str(metrics["tn"]))
    return table


def figures(metrics: Mapping[str, Any]) -> Table:
    """The rates on the test split and, if its prevalence differs, those at the real world's.

    Args:
      metrics: the content of `metrics.json`.
    """
    own, world = metrics["metrics"], metrics["at_prevalence"]
    columns = [(f"test, {_balance(metrics)}", own, metrics["intervals"])]
    if differs(metrics["positives"] / metrics["examples"], world["prevalence"]):
        title = f"real world, {balance(world['prevalence'])}"
        columns.append((title, world, world["intervals"]))
    table = new_table(f"At the operating point, {own['threshold']:.4f}")
    table.add_column("metric")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
        table.add_column("95 % interval", justify="right")
    for name in ("precision", "recall", "f1", "pr_auc", "accuracy"):
        cells = [(figure(found[name]), _interval(ends.get(name))) for _, found, ends in columns]
        table.add_row(name, *(text for cell in cells for text in cell))
    for name, title in _PER_THOUSAND.items():
        if own[name] is not None:
            cells = [(_amount(found[name]), _amounts(ends[name])) for _, found, ends in columns]
            table.add_row(title, *(text for cell in cells for text in cell))
    return table


def _operating_point(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yields what val promised, and the figures of the review band on test."""
    for sentence in wording.promised(metrics["operating_point"]):
        yield f"From val, {sentence}."
    if (review := metrics["review"]) is not None:
        found = wording.reviewed(review["at_prevalence"])
        yield f"On test, reviewed at the real world's balance: {found}."


def _balance(metrics: Mapping[str, Any]) -> str:
    return balance(metrics["positives"] / metrics["examples"])


def _slices(slices: list[dict[str, Any]]) -> RenderableType:
    table = new_table("Slices")
    table.add_column("slice", no_wrap=True)
    for header in ("images", "positives", "recall", "missed", "precision", "false"):
        table.add_column(header, justify="right")
    for row in slices:
        name = ", ".join(f"{column} = {value}" for column, value in row["slice"].items())
        # Without positives every predicted positive is false: precision says nothing.
        precision = row["precision"] if row["positives"] else None
        table.add_row(
            plain(name),
            *(str(row["examples"]), str(row["positives"])),
            *(figure(row["recall"]), str(row["fn"])),
            *(figure(precision), str(row["fp"])),
        )
    return table


def _reason_names_anomalies(metrics: Mapping[str, Any]) -> bool:
    return findings.summary(metrics["data_check"]) in metrics["reason"]


def _anomalies(data_check: Mapping[str, Any]) -> RenderableType:
    count = len(data_check["anomalies"])
    noun = "anomaly" if count == 1 else "anomalies"
    found = lines(findings.summary(data_check))
    return Text.assemble((f"{count:,} {noun} in the data", "bold yellow"), ": ", found)


def _gates(gates: list[dict[str, Any]]) -> RenderableType:
    table = new_table("Gates")
    table.add_column("gate")
    for header in ("found", "95 % interval", "images"):
        table.add_column(header, justify="right")
    table.add_column("outcome")
    for gate in gates:
        table.add_row(
            plain(gate["gate"]),
            _found(gate["value"]),
            _interval(gate["interval"]),
            "–" if gate["images"] is None else f"{gate['images']:,}",
            plain(outcome(gate)),
        )
    return table


def _found(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _verdict(metrics: Mapping[str, Any]) -> RenderableType:
    word, style = ("BLESSED", "bold green") if metrics["blessed"] else ("NOT BLESSED", "bold red")
    return Text.assemble((word, style), ": ", lines(metrics["reason"]))


def _places(result: "RunResult") -> RenderableType:
    pushed = result.metrics["pushed_model"] or "none, the model was not blessed"
    return Group(
        plain(f"Report:       {result.report}"),
        plain(f"Pushed model: {pushed}"),
    )


def new_table(title: str) -> Table:
    """An empty table in the style of all summaries."""
    return Table(title=plain(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def figure(value: float | None) -> str:
    """A figure as shown in tables; a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def _amount(value: float) -> str:
    return f"{value:,.1f}"


def _amounts(bounds: Sequence[float]) -> str:
    return f"{_amount(bounds[0])} to {_amount(bounds[1])}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
