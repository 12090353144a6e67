"""The commands `outnumbered kubeflow …`: compile, submit, schedule, runs."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components import paths
from components.image_example_gen.sources import UnreachableError
from pipeline.kubeflow import package as packages
from pipeline.kubeflow import runs_cli, schedule_cli
from pipeline.kubeflow.command import (
    PACKAGE_FILES,
    PackageOption,
    ParamOption,
    PollOption,
    RunTimeoutOption,
    compile_settings,
    connected,
    packaged,
    print_json,
    print_run,
    reporting_errors,
    section_of,
    wait_for,
)
from pipeline.kubeflow.errors import UsageError
from pipeline.kubeflow.package import DATA_VERSION, Package
from pipeline.options import EXIT_CODES, JsonOption, PresetOption, SetOption, SettingsOption
from pipeline.preflight import check_data
from pipeline.study.settings import AnySettings, load_any
from pipeline.terminal import print_line, print_note

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api
    from pipeline.kubeflow.runs import Run

_EXITS = "Exit codes: 0 done, 1 failed, 2 usage error, " + EXIT_CODES
_VERTEX_SUFFIX = ".json"
# Parameters that override the data named in the settings.
_OTHER_DATA = ("source", "span")

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Run the pipeline on Kubeflow Pipelines: compile, submit, schedule, watch.\n\n"
        "It is configured in the section `kubeflow` of the settings: `kubeflow.host`, "
        "`kubeflow.pipeline_root`, `kubeflow.image` and more, see docs/settings.md. "
        "docs/operations.md has all steps from an empty cluster to a scheduled run."
    ),
    epilog=_EXITS,
)
app.add_typer(schedule_cli.app, name="schedule")
app.add_typer(runs_cli.app, name="runs")

OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="The file to write; default: pipeline.yaml, and pipeline.json for Vertex AI.",
    ),
]


@app.command("compile")
def compile_command(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compiles the pipeline for Kubeflow Pipelines. No cluster is required.

    The same settings give the same bytes. A file with `arms` is a study; its arms run in
    parallel.

        outnumbered kubeflow compile --settings mine.yaml -o pipeline.yaml
    """
    with reporting_errors(as_json=as_json):
        loaded = load_any(preset, settings, overrides)
        file = output or PACKAGE_FILES[section_of(loaded).target]
        written = compile_settings(loaded, paths.given("--output", file))
        if written.suffix == _VERTEX_SUFFIX:
            _print_file(written, as_json=as_json)
        else:
            _print_package(packages.read(written), as_json=as_json)


@app.command()
def submit(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    package: PackageOption = None,
    param: ParamOption = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse cached outputs of earlier runs.")
    ] = True,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run to finish.")] = False,
    timeout: RunTimeoutOption = None,
    poll: PollOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Compiles the pipeline and starts a run of it.

    The compiled pipeline is stored on the server as a version named by its digest, and uploaded
    only once. If the images can be listed from here, their digest is sent along, so that the
    cluster reads them again if they have changed.

    With `--wait` the exit code is 0 if the run succeeded and 1 otherwise.

        outnumbered kubeflow submit --settings mine.yaml --param epochs=5 --wait
    """
    with reporting_errors(as_json=as_json):
        loaded = load_any(preset, settings, overrides)
        api = connected(loaded)
        data_version, note = _data_version(loaded, param or ())
        with packaged(loaded, package, data_version) as compiled:
            arguments = compiled.arguments(param or ())
            if data_version and DATA_VERSION in compiled.parameters:
                arguments[DATA_VERSION] = data_version
            started = _start(api, compiled, arguments, cache=cache)
            if note:
                print_note(note)
            run = wait_for(api, started.run_id, timeout, poll) if wait else started
        version = compiled.version_name
        print_run(run, as_json=as_json, waited=wait, version=version, note=note)


def _data_version(settings: AnySettings, params: Sequence[str]) -> tuple[str, str | None]:
    """The digest of the images; or an empty text and why they can't be listed from here."""
    given = {text.partition("=")[0] for text in params}
    if given & {DATA_VERSION, *_OTHER_DATA}:
        return "", None
    try:
        return check_data(settings), None
    except (UnreachableError, OSError) as error:
        return "", f"the images can't be listed from here and will be read again: {error}"
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
        # kfp can disable caching only for a package, not for a version.
        started = api.start_run(name, experiment_id, arguments, package=package.path)
    return runs.describe(started, str(api.section.host))


def _print_package(package: Package, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "status": "done",
                "package": str(package.path),
                "pipeline": package.name,
                "digest": package.digest,
                "parameters": dict(package.parameters),
            }
        )
    else:
        print_line(f"{package.path}: pipeline {package.name}, version {package.digest}")
        print_line(f"runtime parameters: {', '.join(sorted(package.parameters)) or 'none'}")


def _print_file(path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"status": "done", "package": str(path)})
    else:
        print_line(f"{path}: a pipeline job for Vertex AI")
