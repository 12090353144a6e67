"""The command line: `outnumbered run`, `retrain`, `predict`, `models`, `kubeflow` and others."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NoReturn

import typer
import yaml
from rich.console import Console
from rich.progress import Progress

from components import paths
from components.image_example_gen import files
from components.registry import RegistryError
from pipeline.clean_cli import clean
from pipeline.compare.cli import app as report_app
from pipeline.kubeflow.cli import app as kubeflow_app
from pipeline.models_cli import app as models_app
from pipeline.options import (
    EXIT_CODES,
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
    run_command,
    with_span,
)
from pipeline.retrain.cli import retrain
from pipeline.settings import Settings, SettingsError, load_settings
from pipeline.study.cli import study
from pipeline.terminal import print_note

app = typer.Typer(
    name="outnumbered",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Train an image classifier for a rare class, evaluate it at the class proportions of the "
        "real world, and release it if it passes its gates.\n\n"
        "To start: `outnumbered data make-sample sample`, then `outnumbered run --preset demo`."
    ),
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 usage error, 3 done but the model was NOT blessed, "
        + EXIT_CODES
    ),
)
data_app = typer.Typer(no_args_is_help=True, help="Make data sets.")
app.add_typer(data_app, name="data")
app.add_typer(report_app, name="report")
app.add_typer(kubeflow_app, name="kubeflow")
app.add_typer(models_app, name="models")
app.command()(study)
app.command()(retrain)
app.command()(clean)


@app.command()
def run(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    span: SpanOption = None,
    output: OutputOption = "runs",
    as_json: JsonOption = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse cached outputs of earlier runs.")
    ] = True,
) -> None:
    """Trains and evaluates a model, pushes it if it passes its gates, and writes a report.

    Reads the images, samples the splits, trains, chooses the operating point, evaluates, and
    pushes the model. A second run with the same `--output` repeats only what has changed, and an
    interrupted run resumes. The results are in `OUTPUT/latest/report.html` and
    `OUTPUT/latest/metrics.json`.

    For your own images, in one folder per class:

        outnumbered run --preset cats_vs_dogs --set data.source=photos
    """
    with reporting_interruption(RESUMES, as_json=as_json, blessed=False):
        _run(
            _load(preset, settings, with_span(overrides, span), as_json=as_json),
            output,
            cache,
            as_json=as_json,
        )


def _run(settings: Settings, output: str, cache: bool, *, as_json: bool) -> NoReturn:
    from pipeline import local, notices, summary
    from pipeline.preflight import check_run

    try:
        folder, data_version = check_run(settings, output)
    except (ValueError, FileNotFoundError) as error:
        _fail(str(error), Exit.WRONG_USE, as_json=as_json)
    try:
        with notices.failures_told(settings):
            result = local.run(settings, folder, data_version=data_version, use_cache=cache)
    except local.RunError as error:
        _fail(str(error), Exit.FAILED, as_json=as_json)
    notices.tell_result(settings, result)
    if as_json:
        print(json.dumps(summary.as_json(result)))
    else:
        summary.show(result, Console())
    raise typer.Exit(Exit.DONE if result.blessed else Exit.NOT_BLESSED)


@app.command()
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Images, or folders to search for images; with --output also patterns such as "
            "'photos/**/*.jpg', s3:// and gs://.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="PATH",
            help="A pushed model, or a registry (a folder, s3:// or gs://), whose serving version "
            "is used.",
        ),
    ] = "runs/registry",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="PATH",
            help="Write one row per image to this file or URL: .jsonl, .ndjson, .csv or .parquet. "
            "For any number of images; an interrupted job resumes.",
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            metavar="PATH",
            help="Score the images in the column `uri` of this CSV or JSON lines file, relative "
            "to PATH, or else to the file. Requires --output.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="With --output, a setting of Beam, such as `--set beam.runner=FlinkRunner`.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON lines instead of a table; with --output, a JSON summary."
        ),
    ] = False,
) -> None:
    """Predicts for each image whether it is of the positive class, and with what probability.

    An image that can't be read is reported with the reason. The exit code is then 1; with
    `--output` it is 0, and the summary says how many there are.

        outnumbered predict photos/ --model runs/registry

        outnumbered predict s3://bucket/photos --output rows.parquet
    """
    if output or manifest or overrides or any(map(files.is_remote, images or [])):
        from pipeline.batch.command import predict_into

        with reporting_interruption(RESUMES, as_json=as_json):
            predict_into(
                images or [],
                model=model,
                output=output,
                manifest=manifest,
                overrides=overrides or [],
                as_json=as_json,
            )
    if not images:
        _fail("PATH is required; give images or folders", Exit.WRONG_USE, as_json=False)
    with reporting_interruption("run the same command again", as_json=False):
        _predict(images, model, as_json=as_json)


def _predict(images: list[str], model: str, *, as_json: bool) -> NoReturn:
    from components.images.rules import RulesError
    from pipeline import predict as prediction
    from pipeline.served_model import served_model

    passed_over: Counter[str] = Counter()
    with TemporaryDirectory(prefix="outnumbered-") as folder:
        try:
            given = (paths.given("PATH", image) for image in images)
            found = prediction.find_images(given, passed_over)
            root = paths.given_source("--model", model)
            rows = prediction.predict(served_model(root, Path(folder)), found)
        except (prediction.PredictError, paths.PathError, RulesError, RegistryError) as error:
            _fail(str(error), Exit.WRONG_USE, as_json=False)
        if left_out := files.passed_over_text(passed_over):
            print_note(left_out)
        unread = prediction.print_json(rows) if as_json else prediction.print_table(rows)
    raise typer.Exit(Exit.FAILED if unread else Exit.DONE)


@app.command("settings")
def show_settings(
    preset: PresetOption = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
) -> None:
    """Prints the complete settings of a run, including defaults.

    To start a settings file of your own:

        outnumbered settings --preset cats_vs_dogs > mine.yaml
    """
    loaded = _load(preset, settings, overrides, as_json=False)
    print(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), end="")


@data_app.command("make-sample")
def make_sample(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Output folder.")] = "sample",
    images: Annotated[int, typer.Option("--images", help="Number of images.")] = 3300,
    side: Annotated[int, typer.Option("--side", help="Side of an image in pixels.")] = 128,
    random_state: Annotated[int, typer.Option("--random-state", help="Seed.")] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Number of processes; default: one per core.")
    ] = None,
) -> None:
    """Draws pictures of cats and dogs, ten cats per dog, and writes their manifest.

    The same seed gives the same images. A folder that already contains this sample is kept.
    """
    from pipeline.sample.dataset import make_sample

    with (
        reporting_interruption("nothing was written; run the same command again", as_json=False),
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("drawing", total=images)
        try:
            manifest = make_sample(
                paths.given("FOLDER", folder),
                images=images,
                side=side,
                random_state=random_state,
                workers=workers,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except (ValueError, OSError) as error:
            _fail(str(error), Exit.WRONG_USE, as_json=False)
    print_note(f"{images} images in {folder}, listed in {manifest}")


def _load(
    preset: str | None, path: str | None, overrides: list[str] | None, *, as_json: bool
) -> Settings:
    try:
        return load_settings(preset, path, overrides)
    except SettingsError as error:
        _fail(str(error), Exit.WRONG_USE, as_json=as_json)


def _fail(message: str, code: Exit, *, as_json: bool) -> NoReturn:
    fail(message, code, as_json=as_json, blessed=False)


def main() -> None:
    """The entry point of the `outnumbered` command."""
    run_command(app)


if __name__ == "__main__":
    main()
