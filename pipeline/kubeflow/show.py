"""Output of the commands for Kubeflow: tables and progress lines."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from pipeline.kubeflow import schedule
from pipeline.kubeflow.runs import Run
from pipeline.terminal import lines, plain, write

_WIDE = 200
_ID_WIDTH = 36
_COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "CANCELED": "red", "RUNNING": "cyan"}


def console() -> Console:
    """Standard output; wide if it is not a terminal, so that no id is truncated."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=_WIDE)


def runs_table(listed: Sequence[Run]) -> Table:
    """One row per run."""
    table = Table("run", "state", "started (UTC)", "duration", "started by", _id_column())
    for run in listed:
        by = "schedule" if run.schedule_id else "user"
        named = (plain(run.name), _coloured(run.state))
        table.add_row(*named, _moment(run.created_at), _duration(run), by, plain(run.run_id))
    return table


def show_run(run: Run, console: Console) -> None:
    """Prints a run, its parameters and its steps."""
    console.print(
        Text.assemble(
            *(plain(run.name), "  ", _coloured(run.state)),
            f"  started {_moment(run.created_at)}, {_duration(run)}",
        )
    )
    if run.error:
        write(console, run.error, style="red")
    if run.parameters:
        table = Table("parameter", "value")
        for name, value in sorted(run.parameters.items()):
            table.add_row(plain(name), plain(value))
        console.print(table)
    if run.tasks:
        table = Table("step", "state", "error")
        for task in run.tasks:
            table.add_row(plain(task.name), _coloured(task.state), lines(task.error or ""))
        console.print(table)
    write(console, f"artifacts: {run.pipeline_root or 'in the default pipeline root'}")
    write(console, f"page: {run.url}")


def schedules_table(found: Sequence[Any]) -> Table:
    """One row per schedule, a V2beta1RecurringRun."""
    table = Table("schedule", "state", "cron", "in words", "next", _id_column())
    for one in map(schedule.as_json, found):
        soonest = one["next"][0] if one["next"] else "-"
        state = Text("on", "green") if one["enabled"] else Text("paused", "yellow")
        texts = (plain(one[key] or "-") for key in ("cron", "words"))
        table.add_row(plain(one["name"]), state, *texts, soonest, plain(one["schedule_id"]))
    return table


def show_schedule(found: Any, console: Console) -> None:
    """Prints a schedule in words, with its next times."""
    one = schedule.as_json(found)
    state = "on" if one["enabled"] else "paused"
    write(console, f"schedule {one['name']} ({one['schedule_id']}): {state}")
    if one["cron"]:
        write(console, f"{one['cron']}: {one['words']}; runs never overlap")
    for moment in one["next"]:
        write(console, f"  {moment}")


def run_progress(console: Console) -> Callable[[Run], None]:
    """Prints a line when the state of a run or of one of its steps changes."""
    shown: list[str] = []

    def progress(run: Run) -> None:
        working = ", ".join(task.name for task in run.tasks if task.state == "RUNNING")
        line = f"{run.name}: {run.state}" + (f" ({working})" if working else "")
        if line not in shown[-1:]:
            shown.append(line)
            write(console, line)

    return progress


def waiting_progress(console: Console) -> Callable[[int], None]:
    """Prints a line when the number of active runs changes."""
    shown: list[int] = []

    def progress(count: int) -> None:
        if count not in shown[-1:]:
            shown.append(count)
            if count or len(shown) > 1:
                write(console, f"active runs of the schedule: {count}")

    return progress


def _id_column() -> Column:
    return Column("id", no_wrap=True, min_width=_ID_WIDTH)


def _coloured(state: str) -> Text:
    return plain(state, _COLOURS.get(state, ""))


def _moment(moment: datetime.datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"


def _duration(run: Run) -> str:
    seconds = run.seconds()
    if seconds is None:
        return "-"
    duration = str(datetime.timedelta(seconds=round(seconds)))
    return duration if run.finished else f"{duration} so far"
