"""The commands `outnumbered kubeflow schedule …`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.kubeflow import cron
from pipeline.kubeflow.command import (
    PackageOption,
    ParamOption,
    PollOption,
    connected,
    packaged,
    print_json,
    reporting_errors,
    section_of,
)
from pipeline.kubeflow.errors import UsageError
from pipeline.kubeflow.settings import Schedule
from pipeline.options import JsonOption, PresetOption, SetOption, SettingsOption
from pipeline.study.settings import AnySettings, load_any
from pipeline.terminal import print_line

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api
    from pipeline.kubeflow.schedule import Applied, Waiting

app = typer.Typer(no_args_is_help=True, help="The pipeline's schedule, set in `kubeflow.schedule`.")

ForceOption = Annotated[
    bool, typer.Option("--force", help="Terminate the schedule's active runs instead of waiting.")
]
WaitTimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to wait for active runs.")
]


@app.command("apply")
def schedule_apply(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    package: PackageOption = None,
    param: ParamOption = None,
    force: ForceOption = False,
    timeout: WaitTimeoutOption = 3600,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Creates the schedule from the settings; does nothing if it is up to date.

    A schedule that differs is replaced: the old one is paused, its active runs are waited for
    (or terminated, with `--force`), the new one is created, and the old one is deleted. If a
    step fails, the old one stays enabled. A paused schedule is enabled again, unless
    `kubeflow.schedule.enabled` is false.

        outnumbered kubeflow schedule apply --settings mine.yaml \\
            --set kubeflow.schedule.cron='0 0 3 * * *'
    """
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        planned = _planned(loaded)
        api = connected(loaded)
        with packaged(loaded, package) as compiled:
            version, _ = api.ensure_version(compiled)
            desired = schedule.Desired(
                loaded.name, planned, version, compiled.arguments(param or ())
            )
            applied = schedule.apply(
                api, desired, api.experiment_id(), _waiting(force, timeout, poll)
            )
        _print_schedule(applied, as_json=as_json)


@app.command("list")
def schedule_list(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the schedules of the experiment in the settings, with their next times."""
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import schedule, show

        api = connected(load_any(preset, settings, overrides))
        experiment_id = api.find_experiment_id()
        found = api.schedules(experiment_id) if experiment_id else []
        if as_json:
            print_json({"status": "done", "schedules": [schedule.as_json(one) for one in found]})
        else:
            show.console().print(show.schedules_table(found))


@app.command("pause")
def schedule_pause(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pauses the schedule; active runs continue."""
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import schedule

        _switch(schedule.pause, load_any(preset, settings, overrides), as_json=as_json)


@app.command("resume")
def schedule_resume(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resumes the schedule."""
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import schedule

        _switch(schedule.resume, load_any(preset, settings, overrides), as_json=as_json)


@app.command("delete")
def schedule_delete(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    timeout: WaitTimeoutOption = 3600,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Deletes the schedule once its active runs have finished.

    Deleting a schedule terminates its runs, so they are waited for, unless `--force` is given.
    """
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        api = connected(loaded)
        waiting = _waiting(force, timeout, poll)
        count = schedule.delete(api, loaded.name, waiting)
        if as_json:
            print_json({"status": "done", "action": "deleted", "schedules": count})
        else:
            print_line(f"schedule {loaded.name}: deleted")


def _switch(
    switch: "Callable[[Api, str], Applied]", settings: AnySettings, *, as_json: bool
) -> None:
    applied = switch(connected(settings), settings.name)
    _print_schedule(applied, as_json=as_json)


def _planned(settings: AnySettings) -> Schedule:
    planned = section_of(settings).schedule
    if planned is None:
        raise UsageError(
            "kubeflow.schedule is required; set it, for example, with --set "
            "kubeflow.schedule.cron='0 0 3 * * *'; `kubeflow schedule delete` deletes a schedule"
        )
    try:
        cron.check(planned.cron)
    except ValueError as error:
        raise UsageError(f"kubeflow.schedule.cron: {error}. Received: {planned.cron!r}") from error
    return planned


def _waiting(force: bool, timeout: float, poll: float) -> "Waiting":
    from pipeline.kubeflow import schedule, show

    progress = show.waiting_progress(Console(stderr=True))
    return schedule.Waiting(force=force, timeout=timeout, poll=poll, progress=progress)


def _print_schedule(applied: "Applied", *, as_json: bool) -> None:
    from pipeline.kubeflow import schedule, show

    missed = [moment.isoformat() for moment in applied.missed]
    if as_json:
        print_json(
            {
                "status": "done",
                "action": applied.action,
                "differences": list(applied.differences),
                "missed": missed,
                "schedule": schedule.as_json(applied.found),
            }
        )
        return
    for line in applied.differences:
        print_line(line)
    print_line(f"{applied.action}:")
    show.show_schedule(applied.found, show.console())
    if missed:
        print_line(
            f"skipped while waiting for active runs: {', '.join(missed)}; start a run with "
            "`outnumbered kubeflow submit`"
        )
