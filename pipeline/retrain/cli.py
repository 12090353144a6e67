"""The command `outnumbered retrain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from pipeline.options import (
    RESUMES,
    Exit,
    JsonOption,
    PresetOption,
    SetOption,
    SettingsOption,
    fail,
    reporting_interruption,
)
from pipeline.terminal import print_line

if TYPE_CHECKING:
    from pipeline.retrain.loop import Turn


def retrain(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: Annotated[
        str,
        typer.Option("--output", metavar="PATH", help="Output folder of all runs of the loop."),
    ] = "runs",
    as_json: JsonOption = False,
) -> None:
    """Trains on the data there is by now, and releases the model if it passes its gates.

    For a timer: run with the same settings and `--output` each time. It does nothing if neither
    data nor settings have changed since a finished run, not even if its model was rolled back. Each
    run adds a line to `OUTPUT/history.jsonl` and to the page `OUTPUT/history.html`.

        outnumbered retrain --settings mine.yaml --output runs/mine
    """
    with reporting_interruption(RESUMES, as_json=as_json, blessed=False):
        _retrain(preset, settings, overrides, output, as_json=as_json)


def _retrain(
    preset: str | None,
    path: str | None,
    overrides: list[str] | None,
    output: str,
    *,
    as_json: bool,
) -> NoReturn:
    from pipeline import local
    from pipeline.preflight import check_run
    from pipeline.retrain.history import HistoryError
    from pipeline.retrain.loop import Loop, turn_key
    from pipeline.settings import load_settings

    try:
        settings = load_settings(preset, path, overrides)
        checked = check_run(settings, output)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json, blessed=False)
    loop = Loop(
        output=checked.output,
        title=settings.name,
        serving=lambda: _newest_version(local.registry(settings, checked.output)),
        run=lambda: local.run(settings, checked.output, data_version=checked.data_version),
    )
    try:
        turn = loop.turn(turn_key(settings, checked.data_version))
    except HistoryError as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json, blessed=False)
    except local.RunError as error:
        fail(str(error), Exit.FAILED, as_json=as_json, blessed=False)
    _show(turn, checked.output, as_json=as_json)
    released = turn.row.version is not None
    raise typer.Exit(Exit.DONE if released else Exit.NOT_BLESSED)


def _newest_version(registry: str) -> int | None:
    from components.pusher.registry import versions  # imports TensorFlow

    return max(versions(registry), default=None)


def _show(turn: "Turn", output: Path, *, as_json: bool) -> None:
    from pipeline import summary
    from pipeline.retrain.loop import PAGE_FILE

    if as_json:
        status = turn.row.outcome.value
        row = turn.row.model_dump(mode="json")
        print(json.dumps({"status": status, "is_new": turn.is_new, **row}))
        return
    if turn.result is not None:
        summary.show(turn.result, Console())
    else:
        ended = f"{turn.row.at:%Y-%m-%d %H:%M} UTC"
        print_line(f"Nothing has changed since the run that ended at {ended}, so nothing was run")
        print_line(f"It was {_outcome(turn)}")
    print_line(f"History: {output / PAGE_FILE}")


def _outcome(turn: "Turn") -> str:
    if turn.row.version is not None:
        return f"released as version {turn.row.version}"
    return f"not released: {turn.row.reason}"
