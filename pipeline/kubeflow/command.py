"""Shared parts of the commands `outnumbered kubeflow …`.

kfp and TFX take seconds to import, so only the commands that need them import them.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from components import paths
from pipeline.console import without_messages_of_libraries
from pipeline.kubeflow import package as packages
from pipeline.kubeflow.errors import KubeflowError, UsageError
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.settings import Kubeflow
from pipeline.options import Exit, fail, reporting_interruption
from pipeline.settings import SettingsError
from pipeline.study.settings import AnySettings, StudySettings

if TYPE_CHECKING:
    from pipeline.kubeflow.client import Api
    from pipeline.kubeflow.runs import Run

PACKAGE_FILES = {"kubeflow": "pipeline.yaml", "vertex": "pipeline.json"}
"""The compiled pipeline's file, by `kubeflow.target`."""

_CLIENT_PACKAGES = ("kfp", "kfp_server_api", "kfp.client")

PackageOption = Annotated[
    str | None,
    typer.Option(
        "--package",
        metavar="PATH",
        help="A compiled pipeline to use instead of compiling the settings.",
    ),
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="A runtime parameter of the compiled pipeline. May be repeated.",
    ),
]
RunTimeoutOption = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Seconds to wait; default: no limit.")
]
PollOption = Annotated[
    float, typer.Option("--poll", min=0.05, help="Seconds between two requests.")
]


@contextlib.contextmanager
def reporting_errors(*, as_json: bool) -> Iterator[None]:
    """Reports errors raised inside and ends the command with the matching exit code."""
    try:
        with reporting_interruption("runs on the cluster continue", as_json=as_json):
            yield
    except (SettingsError, UsageError, paths.PathError) as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    except KubeflowError as error:
        fail(str(error), Exit.FAILED, as_json=as_json)
    except ModuleNotFoundError as error:
        if error.name not in _CLIENT_PACKAGES:
            raise
        missing = (
            f"{error.name} is not installed and is required for Kubeflow Pipelines; install the "
            "project with its dependencies, for example with `make .venv/ready`"
        )
        fail(missing, Exit.FAILED, as_json=as_json)


def section_of(settings: AnySettings) -> Kubeflow:
    """The section `kubeflow` of the settings.

    Raises:
      UsageError: the settings have no such section.
    """
    if settings.kubeflow is None:
        raise UsageError(
            "the section kubeflow of the settings is required; set at least kubeflow.host, "
            "kubeflow.image and kubeflow.pipeline_root (docs/settings.md)"
        )
    return settings.kubeflow


def connected(settings: AnySettings) -> "Api":
    """The server named in the settings. No request is sent yet.

    Raises:
      UsageError: no host is set, the target is another, or the token does not exist.
    """
    section = section_of(settings)
    if section.target != "kubeflow":
        raise UsageError(
            f"kubeflow.target is {section.target}, which only `kubeflow compile` supports; submit "
            "the compiled file with the tools of Vertex AI, or set kubeflow.target=kubeflow"
        )
    from pipeline.kubeflow.client import connect

    return connect(section)


@contextlib.contextmanager
def packaged(settings: AnySettings, path: str | None, data_version: str = "") -> Iterator[Package]:
    """The compiled pipeline at `path`, or the settings compiled into a temporary folder.

    Args:
      settings: of the pipeline or the study.
      path: of an existing package; None compiles the settings.
      data_version: the digest of the images; empty if unknown.
    """
    if path is not None:
        yield packages.read(paths.given("--package", path))
        return
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / PACKAGE_FILES["kubeflow"]
        yield packages.read(compile_settings(settings, output, data_version))


def compile_settings(settings: AnySettings, output: Path, data_version: str = "") -> Path:
    """Compiles the settings of a pipeline or a study to `output` and returns its path."""
    with without_messages_of_libraries() as screen, Console(file=screen).status("compiling"):
        from pipeline.kubeflow.compile import compile_pipeline, compile_study

        if isinstance(settings, StudySettings):
            return compile_study(settings, output, data_version=data_version)
        return compile_pipeline(settings, output, data_version=data_version)


def wait_for(api: "Api", run_id: str, timeout: float | None, poll: float) -> "Run":
    """Waits for a run to finish, at most `timeout` seconds; checks every `poll` seconds."""
    from pipeline.kubeflow import runs, show

    progress = show.run_progress(Console(stderr=True))
    return runs.wait(api, run_id, timeout=timeout, poll=poll, progress=progress)


def print_run(run: "Run", *, as_json: bool, waited: bool, **facts: Any) -> None:
    """Prints a run; exits with code 1 if it was waited for and did not succeed."""
    from pipeline.kubeflow import show

    failed = waited and not run.succeeded
    if as_json:
        given = {key: fact for key, fact in facts.items() if fact is not None}
        print_json({"status": "failed" if failed else "done", "run": run.as_json(), **given})
    else:
        show.show_run(run, show.console())
    if failed:
        raise typer.Exit(Exit.FAILED)


def print_json(answer: dict[str, Any]) -> None:
    """Prints the single line of `--json`."""
    print(json.dumps(answer))
