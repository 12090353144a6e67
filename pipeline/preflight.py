"""Checks that run before TensorFlow is imported."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from components import names, paths
from components.beam_io import files_below
from components.image_example_gen import sources
from components.image_example_gen.contents import Verify
from components.image_example_gen.span_listing import Asked, list_spans, records_of
from components.imbalance_sampler import census, demand
from components.imbalance_sampler.request import STABLE, check_class_names, parse_request
from components.notifications.settings import check_variables
from components.registry import RegistryError, open_registry
from components.tracking.settings import check_installed
from components.trainer import weights
from components.trainer.backbones import CNN
from components.trainer.settings import TrainerSettings
from pipeline.beam_options import DATAFLOW
from pipeline.settings import Beam, ImageSettings, Sampler, Settings


class Checked(NamedTuple):
    """What a run needs, after all that can be checked before it begins.

    Attributes:
      output: its output folder.
      data_version: see `check_data`.
    """

    output: Path
    data_version: str


def check_run(settings: Settings, output: str) -> Checked:
    """Checks the folders, weights and images of a run.

    Raises:
      ValueError: a path, the source or the splits are invalid, see `check_data`; the extra of a
        tracking server is not installed; or a variable that notifications read is not set.
      FileNotFoundError: a file of weights does not exist.
    """
    folder = paths.output_folder(output)
    if settings.pusher.registry:
        _check_registry(settings.pusher.registry)
    check_installed(settings.tracking)
    check_variables(settings.notifications, os.environ)
    check_trainers([settings.trainer])
    check_beam(settings.beam)
    return Checked(folder, check_data(settings))


def _check_registry(registry: str) -> None:
    if "://" not in registry:
        paths.check_can_be_folder("pusher.registry", registry)
        return
    try:
        open_registry(registry).serving()
    except RegistryError as error:
        raise paths.PathError(f"pusher.registry can't be used: {error}") from error


def _check_ledger(sampler: Sampler) -> None:
    if sampler.assignment != STABLE or sampler.ledger is None or "://" not in sampler.ledger:
        return
    try:
        # The metadata of an object doesn't tell whether there is such a bucket.
        next(files_below(sampler.ledger), None)
    except (OSError, ValueError) as error:
        raise paths.PathError(f"sampler.ledger can't be used: {error}") from error


def check_beam(beam: Beam) -> None:
    """Refuses a runner whose workers don't see folders, where the outputs are in one.

    Raises:
      ValueError: it is Dataflow's.
    """
    if beam.runner == DATAFLOW:
        raise ValueError(
            f"beam.runner must not be {DATAFLOW} for a run or a study, which write to a folder: "
            "its workers see buckets only. Use an engine whose workers see the folder of --output. "
            f"Received: {beam.runner!r}"
        )


def check_data(settings: ImageSettings) -> str:
    """Lists the images, and checks that the splits can be filled if all images are accepted.

    Returns:
      A digest of the listing, which changes with the data.

    Raises:
      PathError: the ledger can't be looked up in its bucket.
      SourceError: the source or its manifest is invalid.
      SamplingError: a split requests more images than exist, or a class that does not exist.
    """
    _check_ledger(settings.sampler)
    records = records_of(list_spans(_asked(settings)))
    _check_splits(settings, records.classes.counts())
    return _data_version(records, settings.data.verify)


def _asked(settings: ImageSettings) -> Asked:
    data = settings.data
    return Asked(
        source=data.source,
        manifest=data.manifest,
        slices=data.slices,
        roots=data.roots,
        positive_class=data.positive_class,
        classes=settings.class_names(),
        span=data.span or "",
        window=data.parsed_window(),
        span_column=data.span_column or "",
        allow_gaps=data.allow_gaps,
    )


def _data_version(records: Sequence[sources.ImageRecord], verify: Verify) -> str:
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking for changed images", total=len(records))
        return sources.data_version(records, verify=verify, advance=lambda: progress.advance(task))


def check_trainers(trainers: Iterable[TrainerSettings]) -> None:
    """Checks that the weights files and networks of the trainings exist on this machine.

    Raises:
      FileNotFoundError: a file does not exist.
    """
    for trainer in trainers:
        if trainer.model != CNN:
            weights.check_weights(trainer.weights, trainer.model)


def _check_splits(settings: ImageSettings, counts: Counter[str]) -> None:
    found = census.Census.of(
        {(name, _label(name, settings)): count for name, count in counts.items()}
    )
    request = parse_request(settings.sampler.splits, assignment=settings.sampler.assignment)
    check_class_names(request, found.classes)
    demand.resolve(request, found, dict(enumerate(found.counts)))
    census.prevalence(settings.population.prevalence, found)


def _label(class_name: str, settings: ImageSettings) -> int:
    positive = class_name == settings.data.positive_class
    return names.POSITIVE_LABEL if positive else names.NEGATIVE_LABEL
