"""The command `outnumbered retrain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from pipeline.options import (
    RESUMES,
    Exit,
    JsonOption,
    OutputOption,
    PresetOption,
    SetOption,
    SettingsOption,
    SpanOption,
    fail,
    reporting_interruption,
    with_span,
)
from pipeline.terminal import print_line

if TYPE_CHECKING:
    from pipeline.retrain.loop import Turn


def retrain(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    span: SpanOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Trains on the data there is by now, and releases the model if it passes its gates.

    For a timer: run with the same settings and `--output` each time. It does nothing if neither
    images, settings nor code have changed since the last finished run, not even if its model was
    rolled back; but a model that the registry has lost is pushed again. Each run adds a line to
    `OUTPUT/history.jsonl` and to the page `OUTPUT/history.html`; one that is killed or stopped adds
    none, and the next one resumes it.

        outnumbered retrain --settings mine.yaml --output runs/mine
    """
    with reporting_interruption(RESUMES, as_json=as_json, blessed=False):
        _retrain(preset, settings, with_span(overrides, span), output, as_json=as_json)


def _retrain(
    preset: str | None,
    path: str | None,
    overrides: list[str] | None,
    output: str,
    *,
    as_json: bool,
) -> NoReturn:
    from components.registry import RegistryError, open_registry
    from pipeline import local, notices, run_champion
    from pipeline.preflight import check_run
    from pipeline.retrain.history import HistoryError
    from pipeline.retrain.loop import Loop
    from pipeline.settings import load_settings

    try:
        settings = load_settings(preset, path, overrides)
        with notices.failures_told(settings):
            checked = check_run(settings, output)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json, blessed=False)
    registry = open_registry(local.registry(settings, checked.output))
    data_version = checked.data_version
    loop = Loop(
        output=checked.output,
        title=settings.name,
        champion=lambda: run_champion.find(
            settings, checked.output, data_version=data_version, registry=registry
        ),
        run=lambda champion: local.run(
            settings, checked.output, data_version=data_version, champion=champion
        ),
        has_lost=registry.has_lost,
    )
    try:
        with (
            notices.failures_told(settings),
            local.locked(checked.output, "retrain.lock"),
        ):
            turn = loop.turn(run_champion.run_key(settings, data_version))
    except (HistoryError, local.RunError, RegistryError) as error:
        fail(str(error), Exit.FAILED, as_json=as_json, blessed=False)
    if turn.result is not None:
        notices.tell_result(settings, turn.result)
    _show(turn, checked.output, as_json=as_json)
    raise typer.Exit(Exit.DONE if turn.row.is_released else Exit.NOT_BLESSED)


def _show(turn: "Turn", output: Path, *, as_json: bool) -> None:
    from pipeline import summary
    from pipeline.retrain.loop import PAGE_FILE

    if as_json:
        row = turn.row
        status = {"status": row.outcome.value, "blessed": row.is_released, "is_new": turn.is_new}
        print(json.dumps({**status, **row.model_dump(mode="json")}))
        return
    if turn.result is not None:
        summary.show(turn.result, Console())
    else:
        ended = f"{turn.row.at:%Y-%m-%d %H:%M} UTC"
        print_line(f"Nothing has changed since the run that ended at {ended}, so nothing was run")
        print_line(f"It was {_outcome(turn)}")
    print_line(f"History: {output / PAGE_FILE}")


def _outcome(turn: "Turn") -> str:
    if turn.row.is_released:
        return f"released as version {turn.row.version}"
    return f"not released: {turn.row.reason}"
