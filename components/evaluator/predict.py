"""Runs the model on the split: each image once, shard by shard."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components import bands, example_files, names
from components.artifact_files import Shard
from components.evaluator import eval_config, predictions
from components.evaluator.champion_model import ChampionModel
from components.evaluator.metrics import negative_weight
from components.progress import Progress
from components.saved_model import OUTPUTS, ServedModel, check_finite

_BATCH = 64
_MEASURES = {
    names.BRIGHTNESS: tf.float32,
    names.SHARPNESS: tf.float32,
    names.IMAGE_SIZE: tf.int64,
}
# Large enough that Beam's overhead per row is small.
_ROWS_PER_RECORD_BATCH = 4096


@dataclass(frozen=True)
class Part:
    """One file of the split."""

    shard: Shard
    index: int
    count: int


class PredictShard(beam.DoFn):
    """Writes the predictions of a shard as parquet, and yields what TFMA slices and counts."""

    def __init__(
        self,
        *,
        model: str,
        output: str,
        slice_columns: Sequence[str],
        total: int,
        bounds: Mapping[names.Band, tuple[float, float]] | None = None,
        champion: str | None = None,
    ):
        """Creates the step.

        Args:
          model: folder of the SavedModel.
          output: URI of the Predictions artifact.
          slice_columns: features of the examples, as text.
          total: images in the split, for the progress lines.
          bounds: of the bands of those slice columns that are measures, see `components.bands`.
          champion: folder of the champion's SavedModel; None if it is not compared.
        """
        self._folder = model
        self._output = output
        self._champion_folder = champion
        self._schema = predictions.schema(slice_columns, champion=champion is not None)
        # TFMA slices by the others.
        self._own = [*predictions.IDENTITY, *(predictions.CHAMPION if champion else ())]
        if champion and names.SPAN not in slice_columns:
            self._own.append(names.SPAN)
        self._bounds = dict(bounds or {})
        self._progress = Progress("test images", total=total, logger="outnumbered.evaluator")
        # The threads of a worker share one model.
        self._shared = Shared()
        self._shared_champion = Shared()

    def setup(self) -> None:
        """Loads the model."""
        self._model = self._shared.acquire(lambda: ServedModel(self._folder))
        self._champion = None
        if (folder := self._champion_folder) is not None:
            self._champion = self._shared_champion.acquire(lambda: ChampionModel(folder))

    def process(self, element: Part) -> Iterator[pa.RecordBatch]:
        """Predicts one shard."""
        element.shard.check_digest()
        parts = list(self._predict(element.shard.path))
        rows = pa.Table.from_batches(parts, schema=self._schema)
        element.shard.check_count(len(rows))
        predictions.write(rows, self._output, index=element.index, count=element.count)
        narrow = rows.drop_columns(self._own).combine_chunks()
        yield from narrow.to_batches(max_chunksize=_ROWS_PER_RECORD_BATCH)

    def _predict(self, path: str) -> Iterator[pa.RecordBatch]:
        spec = None
        for examples in example_files.record_batches(path, _BATCH):
            spec = spec or self._parsing_spec(path, examples[0].numpy())
            columns = tf.io.parse_example(examples, spec)
            columns |= self._model(examples)
            images = [name.decode() for name in columns[names.IMAGE_ID].numpy()]
            if self._champion is not None:
                columns |= self._champion(columns.pop(names.IMAGE))
            check_finite(columns[names.PROBABILITY], images)
            columns |= {
                band: bands.cut(columns[band], ends, band) for band, ends in self._bounds.items()
            }
            yield self._record_batch(columns)
            self._progress.advance(len(examples))

    def _parsing_spec(self, path: str, first: bytes) -> dict[str, tf.io.FixedLenFeature]:
        """Returns the features to read of each example: all but the image."""
        has = set(tf.train.Example.FromString(first).features.feature)
        required = set(self._schema.names) - OUTPUTS.keys() - set(predictions.CHAMPION)
        optional = {names.SPAN} - has if self._champion is not None else set()
        required -= optional
        if self._champion is not None:
            required.add(names.IMAGE)
        if missing := required - has:
            raise ValueError(
                f"the examples in {path} must have the columns {sorted(missing)}. "
                f"Received: {sorted(has)}"
            )
        kinds = dict.fromkeys(required, tf.string) | {names.LABEL: tf.int64}
        kinds |= {band: _MEASURES[band] for band in self._bounds}
        spec = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
        spec |= {name: tf.io.FixedLenFeature([], tf.string, "") for name in optional}
        return spec

    def _record_batch(self, columns: dict) -> pa.RecordBatch:
        arrays = [_as_array(np.asarray(columns[field.name]), field.type) for field in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


@beam.ptransform_fn
def PredictSplit(  # noqa: N802 - Beam names transforms as classes
    pipeline: beam.Pipeline, shards: Sequence[Shard], predict: PredictShard
) -> beam.PCollection[pa.RecordBatch]:
    """Predicts every file; only file names are shuffled, never images."""
    parts = [Part(shard, index, len(shards)) for index, shard in enumerate(shards)]
    return (
        pipeline
        | "Files" >> beam.Create(parts, reshuffle=False)
        | "Spread" >> beam.Reshuffle()
        | "Predict" >> beam.ParDo(predict).with_output_types(pa.RecordBatch)
    )


@beam.ptransform_fn
def ForTfma(  # noqa: N802 - Beam names transforms as classes
    batches: beam.PCollection[pa.RecordBatch], prevalence: float
) -> beam.PCollection[pa.RecordBatch]:
    """Gives each image its weight at `prevalence`, and each batch the form that TFMA requires."""
    sides = (
        batches
        | "Sides" >> beam.Map(_sides)
        | "Sum" >> beam.CombineGlobally(beam.combiners.TupleCombineFn(sum, sum))
    )
    return batches | "Weigh" >> beam.Map(
        for_tfma, sides=beam.pvalue.AsSingleton(sides), prevalence=prevalence
    ).with_output_types(pa.RecordBatch)


def _sides(batch: pa.RecordBatch) -> tuple[int, int]:
    """Counts positives and negatives."""
    positives = int(np.count_nonzero(batch.column(names.LABEL).to_numpy()))
    return positives, batch.num_rows - positives


def split_shards(uri: str, split: str, available: Iterable[str]) -> list[Shard]:
    """Returns the shards of `split`, see `example_files.split_shards`.

    Raises:
      ValueError: the split does not exist.
    """
    if split not in (known := sorted(available)):
        raise ValueError(f"the split to evaluate on must be one of {known}. Received: {split!r}")
    return example_files.split_shards(uri, split)


def for_tfma(batch: pa.RecordBatch, *, sides: tuple[int, int], prevalence: float) -> pa.RecordBatch:
    """Returns the batch with weights and each value in a list of length 1, as TFMA requires.

    Args:
      batch: rows with label, probability and slice columns.
      sides: positives and negatives in the whole split. If one is 0, every weight is 1.
      prevalence: share of positives in the real world.
    """
    weight = negative_weight(*sides, prevalence) if all(sides) else 1.0
    is_positive = batch.column(names.LABEL).to_numpy() == names.POSITIVE_LABEL
    probability = batch.schema.get_field_index(names.PROBABILITY)
    above_zero = pa.array(eval_config.above_zero(batch.column(probability).to_numpy()))
    batch = batch.set_column(probability, names.PROBABILITY, above_zero)
    batch = batch.append_column(names.WEIGHT, pa.array(np.where(is_positive, 1.0, weight)))
    offsets = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32))
    columns = [pa.ListArray.from_arrays(offsets, column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        if values.dtype.kind == "U":
            return pa.array(values, kind)
        # A file name may not be valid UTF-8, but a parquet string must be.
        return pa.array([value.decode("utf-8", "replace") for value in values], kind)
    return pa.array(values, kind)
