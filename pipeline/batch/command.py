"""`outnumbered predict --output`: options, messages and exit codes of a job."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import typer

from components import paths
from components.image_example_gen.sources import SourceError
from components.images.rules import RulesError
from components.registry import RegistryError
from components.section import Section
from pipeline.batch import job
from pipeline.batch.formats import OutputError
from pipeline.batch.job import Job, Summary
from pipeline.batch.listing import ListingError, Request
from pipeline.batch.work import JobError
from pipeline.beam_options import DATAFLOW, beam_args
from pipeline.options import Exit, fail
from pipeline.predict import PredictError
from pipeline.settings import Beam, SettingsError, apply_overrides, parse_as
from pipeline.terminal import print_line, print_note

_WRONG_USE = (
    *(ListingError, SourceError, OutputError, paths.PathError),
    *(PredictError, RulesError, RegistryError, SettingsError),
)

_LOGGER, _BEAM = "outnumbered.predict", "apache_beam"


class _Overrides(Section):
    """The settings that `--set` may give."""

    beam: Beam = Beam()


def predict_into(
    images: Sequence[str],
    *,
    model: str,
    output: str | None,
    manifest: str | None,
    overrides: Sequence[str],
    as_json: bool,
) -> NoReturn:
    """Scores images into a file, and ends the command.

    Args:
      images: images, folders and patterns, on this machine or in a bucket.
      model: a model or a registry.
      output: the file with the rows; required.
      manifest: a list of images.
      overrides: settings of Beam, as `beam.runner=FlinkRunner`.
      as_json: print the summary as JSON.
    """
    try:
        found = _job(images, model, output, manifest, overrides)
        with _progress_shown():
            summary = job.run(found, print_note)
    except _WRONG_USE as error:
        fail(str(error), Exit.WRONG_USE, as_json=as_json)
    except JobError as error:
        fail(str(error), Exit.FAILED, as_json=as_json)
    print_line(summary.as_json() if as_json else _sentence(summary))
    raise typer.Exit(Exit.DONE)


def _job(
    images: Sequence[str],
    model: str,
    output: str | None,
    manifest: str | None,
    overrides: Sequence[str],
) -> Job:
    if not output:
        raise OutputError(
            "--output is required for a manifest, a pattern or images in a bucket, such as "
            "--output rows.jsonl"
        )
    beam = parse_as(_Overrides, apply_overrides({}, overrides), origin="--set").beam
    if beam.runner == DATAFLOW:
        _check_in_buckets({"PATH": images, "--model": [model], "--output": [output]})
    return Job(
        Request(
            tuple(paths.given_source("PATH", image) for image in images),
            paths.given_source("--manifest", manifest) if manifest else None,
        ),
        paths.given_source("--model", model),
        paths.given_source("--output", output),
        tuple(beam_args(beam.runner, beam.options)),
    )


def _check_in_buckets(given: Mapping[str, Sequence[str]]) -> None:
    for name, values in given.items():
        for value in values:
            if "://" not in value:
                raise OutputError(
                    f"{name} must be in a bucket for {DATAFLOW}, whose workers see no folder of "
                    f"this machine, such as gs://bucket/folder. Received: {value!r}"
                )


def _sentence(summary: Summary) -> str:
    return (
        f"{summary.rows:,} images in {summary.output}: {summary.positives:,} positive, "
        f"{summary.needs_review:,} to be reviewed, {summary.errors:,} that can't be read"
    )


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message for the user."""
        print_note(record.getMessage())


@contextlib.contextmanager
def _progress_shown() -> Iterator[None]:
    logger, beam, notes = logging.getLogger(_LOGGER), logging.getLogger(_BEAM), _Notes()
    before = logger.level, logger.propagate, beam.level
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries add a handler to the root logger
    # Beam logs a traceback of each error, also of a signal, which would hide the message.
    beam.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.removeHandler(notes)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        beam.setLevel(before[2])
