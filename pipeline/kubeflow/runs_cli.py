"""The commands `outnumbered kubeflow runs …`."""

import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.kubeflow.command import (
    PollOption,
    RunTimeoutOption,
    connected,
    print_json,
    print_run,
    reporting_errors,
    wait_for,
)
from pipeline.kubeflow.errors import UsageError
from pipeline.options import JsonOption, PresetOption, SetOption, SettingsOption
from pipeline.study.settings import load_any

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api
    from pipeline.kubeflow.runs import Run

app = typer.Typer(no_args_is_help=True, help="Runs of the experiment in the settings.")

RunArgument = Annotated[str | None, typer.Argument(help="Id of the run; default: the newest.")]


@app.command("list")
def runs_list(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of runs.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Lists the runs of the experiment in the settings, newest first."""
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import show

        api = connected(load_any(preset, settings, overrides))
        listed = _listed(api, limit)
        if as_json:
            print_json({"status": "done", "runs": [run.as_json() for run in listed]})
        else:
            show.console().print(show.runs_table(listed))


@app.command("show")
def runs_show(
    run_id: RunArgument = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows a run: its state, parameters, steps and errors."""
    with reporting_errors(as_json=as_json):
        from pipeline.kubeflow import runs

        api = connected(load_any(preset, settings, overrides))
        run = runs.describe(api.run(run_id or _newest(api)), str(api.section.host))
        print_run(run, as_json=as_json, waited=False)


@app.command("wait")
def runs_wait(
    run_id: RunArgument = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    timeout: RunTimeoutOption = None,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Waits for a run to finish: exit code 0 if it succeeded and 1 otherwise.

    Outages of the server shorter than five minutes are ignored.
    """
    with reporting_errors(as_json=as_json):
        api = connected(load_any(preset, settings, overrides))
        run = wait_for(api, run_id or _newest(api), timeout, poll)
        print_run(run, as_json=as_json, waited=True)


def _listed(api: "Api", limit: int) -> list["Run"]:
    from pipeline.kubeflow import runs

    experiment_id = api.find_experiment_id()
    if experiment_id is None:
        return []
    answers = itertools.islice(api.runs(experiment_id), limit)
    return [runs.describe(answer, str(api.section.host)) for answer in answers]


def _newest(api: "Api") -> str:
    listed = _listed(api, 1)
    if not listed:
        raise UsageError(
            f"experiment {api.section.experiment!r} has no runs yet; start one with "
            "`outnumbered kubeflow submit`"
        )
    return listed[0].run_id
