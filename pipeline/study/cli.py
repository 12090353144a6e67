"""The command `outnumbered study`."""

import json
import os
from typing import Annotated

import typer
from rich.console import Console

from components import paths
from components.notifications.settings import check_variables
from pipeline.options import (
    RESUMES,
    Exit,
    JsonOption,
    SetOption,
    SettingsOption,
    SpanOption,
    fail,
    reporting_interruption,
    with_span,
)
from pipeline.study.settings import StudySettings, load_study, study_presets

_PRESETS = ", ".join(study_presets())


def study(
    preset: Annotated[
        str | None,
        typer.Option("--preset", help=f"A built-in study: {_PRESETS}."),
    ] = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    scale: Annotated[
        float,
        typer.Option(
            "--scale", help="Factor for the size of every split, such as 0.5 for half the images."
        ),
    ] = 1.0,
    span: SpanOption = None,
    output: Annotated[
        str,
        typer.Option("--output", metavar="PATH", help="Output folder of the study."),
    ] = "runs/study",
    as_json: JsonOption = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse cached outputs of earlier runs.")
    ] = True,
) -> None:
    """Compares ways to train on your own images, such as balanced and representative data.

    Trains each arm of the study with several seeds on the same images, evaluates all of them on
    the same test images, and reports which differ, by how much and with what certainty. Arms
    that are already trained are reused, and an interrupted study resumes. The results are in
    `OUTPUT/latest/study.html`, `study.json`, `runs.csv` and `predictions.parquet`.

        outnumbered study --preset training --scale 0.5 --set data.source=photos
    """
    with reporting_interruption(RESUMES, as_json=as_json):
        try:
            loaded = load_study(preset, settings, with_span(overrides, span), scale=scale)
        except ValueError as error:
            fail(str(error), Exit.WRONG_USE, as_json=as_json)
        _study(loaded, output, cache, as_json=as_json)


def _study(settings: StudySettings, output: str, cache: bool, *, as_json: bool) -> None:
    from pipeline import notices
    from pipeline.local import RunError
    from pipeline.preflight import check_beam, check_data, check_trainers
    from pipeline.study import run

    try:
        folder = paths.output_folder(output)
        if settings.feature_store:
            paths.check_can_be_folder("feature_store", settings.feature_store)
        check_variables(settings.notifications, os.environ)
        check_trainers(settings.trainer_of(arm) for arm in settings.arms)
        check_beam(settings.beam)
        data_version = check_data(settings)
    except (ValueError, FileNotFoundError) as error:  # from the data or the weights
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    try:
        with notices.failures_told(settings):
            result = run.run_study(settings, folder, data_version=data_version, use_cache=cache)
    except RunError as error:
        fail(str(error), Exit.FAILED, as_json=as_json)
    notices.tell_study(settings, result)
    # Imports TensorFlow, whose messages the log of the study has received by now.
    from pipeline.study import summary

    if as_json:
        print(json.dumps(summary.as_json(result)))
    else:
        summary.show(result, Console())
