"""Scores the shards of a job with Beam; only their numbers are shuffled, never images."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from components import names
from components.image_example_gen import files
from components.image_example_gen.files import FoundFile
from components.image_example_gen.image_bytes import MISSING, UNREADABLE, read_file
from components.images import isolated, reader
from components.images.rules import ReadingRules
from pipeline import engine
from pipeline.batch import formats
from pipeline.batch.work import Work
from pipeline.predict import BATCH_SIZE, batches, outputs_of
from pipeline.served_model import SharedModel

# Images that are read at a time: a bucket takes some milliseconds for each.
_READERS = 8


def initialize() -> None:
    """Finds the devices, which takes a moment and prints what was found."""
    tf.config.list_logical_devices()


class ScoreShard(beam.DoFn):
    """Writes the rows of a shard."""

    def __init__(self, *, model: SharedModel, version: str | None, rules: ReadingRules, work: Work):
        """Creates the step.

        Args:
          model: the SavedModel.
          version: its version in the registry, for the rows.
          rules: how images are read.
          work: the state of the job.
        """
        self._source = model
        self._version = version
        # Workers may be in another folder, to which relative paths don't belong.
        self._base = os.getcwd()
        self._rules = rules
        self._work = work
        # The threads of a worker share one model.
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the model."""
        self._model = self._shared.acquire(self._source.load)

    def process(self, element: int) -> None:
        """Scores one shard."""
        with ThreadPoolExecutor(_READERS) as readers:
            images = self._work.images(element)
            rows = [
                row
                for batch in batches(images, BATCH_SIZE)
                for row in self._rows(batch, list(readers.map(self._read, batch)))
            ]
        self._work.write_rows(element, rows)

    def _read(self, image: FoundFile) -> bytes | str:
        """Returns the image as ingestion would store it, or why it can't be read."""
        try:
            data = read_file(*self._located(image), self._rules.max_pixels)
            return isolated.read_image(
                data, max_pixels=self._rules.max_pixels, max_side=self._rules.max_side
            ).data
        except reader.RefusedImageError as error:
            return str(error)

    def _located(self, image: FoundFile) -> tuple[str, int]:
        """Returns the path that opens an image in this process, and its size."""
        if files.is_remote(image.path):
            return image.path, _size(image)
        path = os.path.join(self._base, image.path)
        return path, _size(image._replace(path=path))

    def _rows(
        self, batch: Sequence[FoundFile], read: Sequence[bytes | str]
    ) -> Iterator[dict[str, Any]]:
        paths = [image.path for image in batch]
        for image, outputs in zip(batch, outputs_of(self._model, read, paths), strict=True):
            found = outputs._asdict() | {
                names.URI: image.relative,
                formats.PATH: image.path,
                formats.MODEL_VERSION: self._version,
            }
            yield {name: found[name] for name in formats.COLUMNS}


def _size(image: FoundFile) -> int:
    """Returns the size of a file; that of an object named by a manifest is looked up here."""
    if image.size >= 0:
        return image.size
    if not files.is_remote(image.path):
        if os.path.exists(image.path) and not os.path.isfile(image.path):
            # The reading of a pipe or a device may not end.
            raise reader.RefusedImageError(UNREADABLE, f"it is not a file: {image.path}")
        return image.size
    if (found := files.find(image.relative, image.path)) is None:
        raise reader.RefusedImageError(MISSING, f"the object does not exist: {image.path}")
    return found.size


def score(shards: Iterable[int], step: ScoreShard, options: Sequence[str]) -> None:
    """Scores shards.

    Args:
      shards: their numbers.
      step: scores one of them.
      options: of Beam, with `--runner`.

    Raises:
      EngineError: the runner's engine can't be reached.
    """
    engine.check(options)
    with (
        engine.reported(options),
        beam.Pipeline(options=PipelineOptions(list(options))) as pipeline,
    ):
        _ = (
            pipeline
            | "Shards" >> beam.Create(list(shards), reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Score" >> beam.ParDo(step)
        )
