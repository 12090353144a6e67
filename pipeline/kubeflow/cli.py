"""The commands `outnumbered kubeflow …`: compile, submit, schedule, runs.

kfp and TFX cost seconds to import and are imported by the commands that need them.
"""

import contextlib
import datetime
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from components.image_example_gen.sources import SourceError
from pipeline.kubeflow import cron
from pipeline.kubeflow import package as packages
from pipeline.kubeflow.errors import KubeflowError, UsageError
from pipeline.kubeflow.package import DATA_VERSION, Package
from pipeline.kubeflow.settings import Kubeflow, Schedule
from pipeline.options import (
    Exit,
    JsonOption,
    PresetOption,
    SetOption,
    SettingsOption,
    fail,
)
from pipeline.preflight import check_data
from pipeline.settings import Settings, SettingsError
from pipeline.study.settings import StudySettings, load_any

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api
    from pipeline.kubeflow.runs import Run
    from pipeline.kubeflow.schedule import Applied, Waiting

AnySettings = Settings | StudySettings
_EXITS = "Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted."
_FILES = {"kubeflow": "pipeline.yaml", "vertex": "pipeline.json"}
_VERTEX_SUFFIX = ".json"
# Parameters with which a run reads other data than the settings name.
_OTHER_DATA = ("source", "span")
_CLIENT_PACKAGES = ("kfp", "kfp_server_api", "kfp.client")

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Run the pipeline on Kubeflow Pipelines: compile, submit, schedule, watch.\n\n"
        "The settings' section `kubeflow` says where and how: `kubeflow.host`, "
        "`kubeflow.pipeline_root`, `kubeflow.image` and more, all in docs/settings.md. "
        "docs/operations.md goes from an empty cluster to a scheduled run."
    ),
    epilog=_EXITS,
)
schedule_app = typer.Typer(
    no_args_is_help=True, help="The pipeline's schedule, `kubeflow.schedule` of the settings."
)
runs_app = typer.Typer(no_args_is_help=True, help="The runs of the settings' experiment.")
app.add_typer(schedule_app, name="schedule")
app.add_typer(runs_app, name="runs")

PackageOption = Annotated[
    Path | None,
    typer.Option("--package", help="A compiled pipeline, instead of compiling the settings."),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="A runtime parameter of the compiled pipeline. May be given many times.",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="End the schedule's runs in flight, instead of waiting.")
]
WaitTimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to wait for runs in flight.")
]
RunTimeoutOption = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Seconds to wait; default: for ever.")
]
PollOption = Annotated[float, typer.Option("--poll", min=0.05, help="Seconds between two looks.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The file to write; default: pipeline.yaml, and pipeline.json for Vertex AI.",
    ),
]
RunArgument = Annotated[str | None, typer.Argument(help="Id of the run; default: the newest.")]


@app.command("compile")
def compile_command(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the pipeline as Kubeflow Pipelines reads it. Needs no cluster.

    The same settings give the same bytes. A file with `arms` is a study's, and compiles to its
    arms side by side.

        outnumbered kubeflow compile --settings mine.yaml -o pipeline.yaml
    """
    with _told(as_json=as_json):
        loaded = load_any(preset, settings, overrides)
        written = _compile(loaded, output or Path(_FILES[_section(loaded).target]))
        if written.suffix == _VERTEX_SUFFIX:
            _tell_file(written, as_json=as_json)
        else:
            _tell_package(packages.read(written), as_json=as_json)


@app.command()
def submit(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    package: PackageOption = None,
    param: ParamOption = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse what has not changed since a run.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    timeout: RunTimeoutOption = None,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Compiles the pipeline and starts a run of it.

    The compiled pipeline is kept on the server as a version named by its digest, and uploaded
    only once. Where the images can be listed from here, their digest goes along, so that the
    cluster reads them again if they have changed.

    With `--wait` the exit code is 0 if the run succeeded, and 1 if not.

        outnumbered kubeflow submit --settings mine.yaml --param epochs=5 --wait
    """
    with _told(as_json=as_json):
        loaded = load_any(preset, settings, overrides)
        api = _connected(loaded)
        data_version, note = _data_version(loaded, param or ())
        with _packaged(loaded, package, data_version) as compiled:
            arguments = compiled.arguments(param or ())
            if data_version and DATA_VERSION in compiled.parameters:
                arguments[DATA_VERSION] = data_version
            started = _start(api, compiled, arguments, cache=cache)
            if note:
                _say_aside(note)
            run = _wait(api, started.run_id, timeout, poll) if wait else started
        version = compiled.version_name
        _tell_run(run, as_json=as_json, waited=wait, version=version, note=note)


@schedule_app.command("apply")
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
    """Makes the schedule as the settings say; does nothing where it already is.

    A schedule that differs is replaced: the old one is paused, its runs in flight are waited
    for (or ended, with `--force`), the new one is made, the old one deleted. If anything fails
    on the way, the old one goes on. A schedule that someone paused is switched on again, unless
    `kubeflow.schedule.enabled` is false.

        outnumbered kubeflow schedule apply --settings mine.yaml \\
            --set kubeflow.schedule.cron='0 0 3 * * *'
    """
    with _told(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        planned = _planned(loaded)
        api = _connected(loaded)
        with _packaged(loaded, package) as compiled:
            version, _ = api.ensure_version(compiled)
            wanted = schedule.Wanted(loaded.name, planned, version, compiled.arguments(param or ()))
            applied = schedule.apply(
                api, wanted, api.experiment_id(), _waiting(force, timeout, poll)
            )
        _tell_schedule(applied, as_json=as_json)


@schedule_app.command("list")
def schedule_list(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the schedules of the settings' experiment, in words and with their next times."""
    with _told(as_json=as_json):
        from pipeline.kubeflow import schedule, show

        api = _connected(load_any(preset, settings, overrides))
        experiment_id = api.find_experiment_id()
        found = api.schedules(experiment_id) if experiment_id else []
        if as_json:
            _print_json({"status": "done", "schedules": [schedule.as_json(one) for one in found]})
        else:
            show.console().print(show.schedules_table(found))


@schedule_app.command("pause")
def schedule_pause(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keeps the schedule from starting runs; a run in flight goes on."""
    with _told(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        api = _connected(loaded)
        applied = schedule.pause(api, loaded.name)
        _tell_schedule(applied, as_json=as_json)


@schedule_app.command("resume")
def schedule_resume(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lets the schedule start runs again."""
    with _told(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        api = _connected(loaded)
        applied = schedule.resume(api, loaded.name)
        _tell_schedule(applied, as_json=as_json)


@schedule_app.command("delete")
def schedule_delete(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    force: ForceOption = False,
    timeout: WaitTimeoutOption = 3600,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Deletes the schedule, when its runs in flight have ended.

    Deleting a schedule ends its runs, so they are waited for; `--force` ends them.
    """
    with _told(as_json=as_json):
        from pipeline.kubeflow import schedule

        loaded = load_any(preset, settings, overrides)
        api = _connected(loaded)
        waiting = _waiting(force, timeout, poll)
        count = schedule.delete(api, loaded.name, waiting)
        if as_json:
            _print_json({"status": "done", "action": "deleted", "schedules": count})
        else:
            _say(f"schedule {loaded.name}: deleted")


@runs_app.command("list")
def runs_list(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Lists the runs of the settings' experiment, the newest first."""
    with _told(as_json=as_json):
        from pipeline.kubeflow import show

        api = _connected(load_any(preset, settings, overrides))
        listed = _listed(api, limit)
        if as_json:
            _print_json({"status": "done", "runs": [run.as_json() for run in listed]})
        else:
            show.console().print(show.runs_table(listed))


@runs_app.command("show")
def runs_show(
    run_id: RunArgument = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows a run: its state, its parameters, its steps, and what went wrong."""
    with _told(as_json=as_json):
        from pipeline.kubeflow import runs

        api = _connected(load_any(preset, settings, overrides))
        run = runs.describe(api.run(run_id or _newest(api)), str(api.section.host))
        _tell_run(run, as_json=as_json, waited=False)


@runs_app.command("wait")
def runs_wait(
    run_id: RunArgument = None,
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    timeout: RunTimeoutOption = None,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Waits until a run has ended: exit code 0 if it succeeded, and 1 if not.

    A server that is away for less than five minutes is waited for.
    """
    with _told(as_json=as_json):
        api = _connected(load_any(preset, settings, overrides))
        run = _wait(api, run_id or _newest(api), timeout, poll)
        _tell_run(run, as_json=as_json, waited=True)


@contextlib.contextmanager
def _told(*, as_json: bool) -> Iterator[None]:
    """Ends the command with the message and exit code of what goes wrong inside."""
    try:
        yield
    except (SettingsError, UsageError) as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    except KubeflowError as error:
        fail(str(error), Exit.FAILED, as_json=as_json)
    except ModuleNotFoundError as error:
        if error.name not in _CLIENT_PACKAGES:
            raise
        missing = (
            f"{error.name} is not installed, through which Kubeflow Pipelines is reached; install "
            "the project with its dependencies, such as by `make .venv/ready`"
        )
        fail(missing, Exit.FAILED, as_json=as_json)
    except KeyboardInterrupt:
        fail("interrupted; what runs on the cluster goes on", Exit.INTERRUPTED, as_json=as_json)


def _section(settings: AnySettings) -> Kubeflow:
    if settings.kubeflow is None:
        raise UsageError(
            "the settings have no section kubeflow, which says where the pipeline runs: give at "
            "least kubeflow.host, kubeflow.image and kubeflow.pipeline_root (docs/settings.md)"
        )
    return settings.kubeflow


def _connected(settings: AnySettings) -> "Api":
    section = _section(settings)
    if section.target != "kubeflow":
        raise UsageError(
            f"kubeflow.target is {section.target}: only `kubeflow compile` knows it; "
            "submit the file with Vertex AI's own tools, or set kubeflow.target=kubeflow"
        )
    from pipeline.kubeflow.client import connect

    return connect(section)


@contextlib.contextmanager
def _packaged(
    settings: AnySettings, path: Path | None, data_version: str = ""
) -> Iterator[Package]:
    if path is not None:
        yield packages.read(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / _FILES["kubeflow"]
        yield packages.read(_compile(settings, output, data_version))


def _compile(settings: AnySettings, output: Path, data_version: str = "") -> Path:
    with Console(stderr=True).status("compiling"):
        from pipeline.kubeflow.compile import compile_pipeline, compile_study

        if isinstance(settings, StudySettings):
            return compile_study(settings, output, data_version=data_version)
        return compile_pipeline(settings, output, data_version=data_version)


def _planned(settings: AnySettings) -> Schedule:
    planned = _section(settings).schedule
    if planned is None:
        raise UsageError(
            "kubeflow.schedule is not set: give when the pipeline runs, such as --set "
            "kubeflow.schedule.cron='0 0 3 * * *'; `kubeflow schedule delete` ends a schedule"
        )
    try:
        cron.check(planned.cron)
    except ValueError as error:
        raise UsageError(f"kubeflow.schedule.cron: {error}") from error
    return planned


def _data_version(settings: AnySettings, params: Sequence[str]) -> tuple[str, str | None]:
    """The digest of the images, and why there is none where they can't be listed from here."""
    given = {text.partition("=")[0] for text in params}
    if given & {DATA_VERSION, *_OTHER_DATA}:
        return "", None
    try:
        return check_data(settings), None
    except (SourceError, OSError) as error:
        return "", f"the images can't be listed from here, and will be read anew: {error}"
    except ValueError as error:
        raise UsageError(str(error)) from error


def _start(api: "Api", package: Package, arguments: dict[str, Any], *, cache: bool) -> "Run":
    from pipeline.kubeflow import runs
    from pipeline.kubeflow.client import run_name

    name = run_name(package.name, datetime.datetime.now(datetime.UTC))
    experiment_id = api.experiment_id()
    if cache:
        version, _ = api.ensure_version(package)
        started = api.start_run(name, experiment_id, arguments, version=version)
    else:
        # kfp switches caching off in a package only.
        started = api.start_run(name, experiment_id, arguments, package=package.path)
    return runs.describe(started, str(api.section.host))


def _wait(api: "Api", run_id: str, timeout: float | None, poll: float) -> "Run":
    from pipeline.kubeflow import runs, show

    progress = show.run_progress(Console(stderr=True))
    return runs.wait(api, run_id, timeout=timeout, poll=poll, progress=progress)


def _waiting(force: bool, timeout: float, poll: float) -> "Waiting":
    from pipeline.kubeflow import schedule, show

    progress = show.waiting_progress(Console(stderr=True))
    return schedule.Waiting(force=force, timeout=timeout, poll=poll, progress=progress)


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


def _tell_run(run: "Run", *, as_json: bool, waited: bool, **facts: Any) -> None:
    """Shows a run; ends the command with 1 if it was waited for and did not succeed."""
    from pipeline.kubeflow import show

    failed = waited and not run.succeeded
    if as_json:
        given = {key: fact for key, fact in facts.items() if fact is not None}
        _print_json({"status": "failed" if failed else "done", "run": run.as_json(), **given})
    else:
        show.show_run(run, show.console())
    if failed:
        raise typer.Exit(Exit.FAILED)


def _tell_schedule(applied: "Applied", *, as_json: bool) -> None:
    from pipeline.kubeflow import schedule, show

    missed = [moment.isoformat() for moment in applied.missed]
    if as_json:
        _print_json(
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
        _say(line)
    _say(f"{applied.action}:")
    show.show_schedule(applied.found, show.console())
    if missed:
        _say(
            f"passed over while runs in flight were waited for: {', '.join(missed)}; "
            "`outnumbered kubeflow submit` makes up for it"
        )


def _tell_package(package: Package, *, as_json: bool) -> None:
    if as_json:
        _print_json(
            {
                "status": "done",
                "package": str(package.path),
                "pipeline": package.name,
                "digest": package.digest,
                "parameters": dict(package.parameters),
            }
        )
    else:
        _say(f"{package.path}: pipeline {package.name}, version {package.digest}")
        _say(f"runtime parameters: {', '.join(sorted(package.parameters)) or 'none'}")


def _tell_file(path: Path, *, as_json: bool) -> None:
    if as_json:
        _print_json({"status": "done", "package": str(path)})
    else:
        _say(f"{path}: a pipeline job for Vertex AI")


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer))


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _say_aside(text: str) -> None:
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
