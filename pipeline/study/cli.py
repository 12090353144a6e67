"""The command `outnumbered study`."""

import json
from typing import Annotated

import typer
from rich.console import Console

from components import paths
from pipeline.options import Exit, JsonOption, SetOption, SettingsOption, fail
from pipeline.study.settings import load_study, study_presets

_PRESETS = ", ".join(study_presets())


def study(
    preset: Annotated[
        str | None,
        typer.Option("--preset", help=f"A study that comes with the project: {_PRESETS}."),
    ] = None,
    settings: SettingsOption = None,
    overrides: SetOption = None,
    scale: Annotated[
        float,
        typer.Option("--scale", help="Multiplies every split, such as 0.5 for half the images."),
    ] = 1.0,
    output: Annotated[
        str,
        typer.Option(
            "--output", metavar="PATH", help="Folder for everything that the study makes."
        ),
    ] = "runs/study",
    as_json: JsonOption = False,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Reuse what has not changed since a run.")
    ] = True,
) -> None:
    """Answers on your own images: balanced or representative, weigh or oversample?

    Trains each arm of the study by many seeds on the same images, judges all of them on the
    same test images, and says which differ, by how much and how sure that is. An arm that is
    there already is not trained again, and a study that was stopped goes on where it was. The
    results lie in `OUTPUT/latest/study.html`, `study.json`, `runs.csv` and
    `predictions.parquet`.

        outnumbered study --preset training --scale 0.5 --set data.source=photos
    """
    from pipeline.local import RunError
    from pipeline.preflight import check_data, check_trainers
    from pipeline.study import run, summary

    try:
        loaded = load_study(preset, settings, overrides or (), scale=scale)
        folder = paths.output_folder(output)
        if loaded.feature_store:
            paths.check_can_be_folder("feature_store", loaded.feature_store)
        check_trainers(loaded.trainer_of(arm) for arm in loaded.arms)
        data_version = check_data(loaded)
    except (ValueError, FileNotFoundError) as error:  # of the settings, the data, the weights
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    try:
        result = run.run_study(loaded, folder, data_version=data_version, use_cache=cache)
    except RunError as error:
        fail(str(error), Exit.FAILED, as_json=as_json)
    except KeyboardInterrupt:
        again = "interrupted; the same command goes on where it stopped"
        fail(again, Exit.INTERRUPTED, as_json=as_json)
    if as_json:
        print(json.dumps(summary.as_json(result)))
    else:
        summary.show(result, Console())
