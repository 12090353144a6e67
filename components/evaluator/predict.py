"""Runs the model on the split: each image once, shard by shard."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components import bands, example_files, feature_records, names
from components.artifact_files import Shard
from components.evaluator import eval_config, predictions, spot_check
from components.evaluator.champion_model import ChampionModel
from components.evaluator.metrics import negative_weight
from components.progress import Progress
from components.saved_model import OUTPUTS, ServedModel, check_finite

_BATCH = 32
_MEASURES = {
    names.BRIGHTNESS: tf.float32,
    names.SHARPNESS: tf.float32,
    names.IMAGE_SIZE: tf.int64,
}
_IMAGE = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}
_CHAMPION_NEAR = "champion_near_threshold"
_logger = logging.getLogger("outnumbered.evaluator")

Columns = dict[str, Any]
"""Values of some images by name."""

# Large enough that Beam's overhead per row is small.
_ROWS_PER_RECORD_BATCH = 4096


@dataclass(frozen=True)
class Part:
    """One file of the split.

    Attributes:
      shard: the file with the images.
      index: its number among the files of the split.
      count: number of these files.
      featured: the file with their features; None if the model needs the images.
    """

    shard: Shard
    index: int
    count: int
    featured: Shard | None = None


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
        features_key: str = "",
    ):
        """Creates the step.

        Args:
          model: folder of the SavedModel.
          output: URI of the Predictions artifact.
          slice_columns: features of the examples, as text.
          total: images in the split, for the progress lines.
          bounds: of the bands of those slice columns that are measures, see `components.bands`.
          champion: folder of the champion's SavedModel; None if it is not compared.
          features_key: key of the features of the files, if they have any.
        """
        self._folder = model
        self._output = output
        self._champion_folder = champion
        self._features_key = features_key
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
            self._champion = self._shared_champion.acquire(
                lambda: ChampionModel(folder, self._features_key)
            )

    def process(self, element: Part) -> Iterator[pa.RecordBatch]:
        """Predicts one shard."""
        element.shard.check_digest()
        rows = self._table(self._columns(element))
        element.shard.check_count(len(rows))
        predictions.write(rows, self._output, index=element.index, count=element.count)
        narrow = rows.drop_columns(self._own).combine_chunks()
        yield from narrow.to_batches(max_chunksize=_ROWS_PER_RECORD_BATCH)

    def _table(self, columns: Columns) -> pa.Table:
        if not columns:
            return self._schema.empty_table()
        columns |= {
            band: bands.cut(columns[band], ends, band) for band, ends in self._bounds.items()
        }
        return pa.Table.from_batches([self._record_batch(columns)])

    def _columns(self, part: Part) -> Columns:
        """Returns the columns of a file; none if it has no image."""
        if part.featured is None:
            return self._read(part.shard, self._of_images)
        part.featured.check_digest()
        found = self._read(part.featured, self._of_features)
        part.featured.check_count(len(found.get(names.IMAGE_ID, ())))
        if not found:
            return found
        found |= self._exact(part, found)
        if self._champion is not None:
            found |= self._of_champion(self._champion, part, found)
        return found

    def _read(self, shard: Shard, outputs_of: Callable[[tf.Tensor, Columns], Columns]) -> Columns:
        """Reads the columns of a file, and adds the outputs for each of its batches."""
        spec = None
        parts: dict[str, list[np.ndarray]] = {}
        for examples in example_files.record_batches(shard.path, _BATCH):
            spec = spec or self._parsing_spec(shard.path, examples[0].numpy())
            columns = tf.io.parse_example(examples, spec)
            columns |= outputs_of(examples, columns)
            for name, values in columns.items():
                parts.setdefault(name, []).append(np.asarray(values))
            self._progress.advance(len(examples))
            images = [name.decode() for name in columns[names.IMAGE_ID].numpy()]
            check_finite(columns[names.PROBABILITY], images)
        return {name: np.concatenate(values) for name, values in parts.items()}

    def _of_images(self, examples: tf.Tensor, columns: Columns) -> Columns:
        outputs = self._model(examples)
        if self._champion is not None:
            outputs |= self._champion(columns.pop(names.IMAGE))
        return outputs

    def _of_features(self, examples: tf.Tensor, columns: Columns) -> Columns:
        features = feature_records.decoded(tf.io.parse_example(examples, feature_records.spec()))
        outputs = self._model.on_features(features)
        if self._champion is None or not self._champion.takes_features:
            return outputs
        of_champion = self._champion.on_features(features)
        outputs[_CHAMPION_NEAR] = of_champion.pop(names.NEAR_THRESHOLD)
        return {**outputs, **of_champion}

    def _exact(self, part: Part, found: Columns) -> Columns:
        """Returns the model's outputs, of some images from the image."""
        indices = spot_check.sample(
            found[names.SCORE],
            found[names.NEAR_THRESHOLD],
            size=spot_check.size_per_file(part.count),
            index=part.index,
        )
        exact = _concatenated(map(self._model, spot_check.records_at(part.shard.path, indices)))
        images = [name.decode() for name in found[names.IMAGE_ID][indices]]
        kept = found[names.SCORE][indices]
        spot_check.check(images, kept, exact[names.SCORE], what="the model")
        return spot_check.replaced({name: found[name] for name in OUTPUTS}, indices, exact)

    def _of_champion(self, champion: ChampionModel, part: Part, found: Columns) -> Columns:
        """Returns the champion's outputs: of some images, or of all, from the image."""
        indices = np.arange(len(found[names.IMAGE_ID]))
        if champion.takes_features:
            indices = spot_check.sample(
                found[names.CHAMPION_PROBABILITY],
                found[_CHAMPION_NEAR],
                size=spot_check.size_per_file(part.count),
                index=part.index,
            )
        exact = _champion_on(champion, part.shard.path, indices)
        if not champion.takes_features:
            return exact
        name = names.CHAMPION_PROBABILITY
        if not spot_check.are_equal(found[name][indices], exact[name]):
            _logger.warning("the champion is run on every image of %s", part.shard.path)
            return _champion_on(champion, part.shard.path, np.arange(len(found[name])))
        return spot_check.replaced({name: found[name] for name in exact}, indices, exact)

    def _parsing_spec(self, path: str, first: bytes) -> dict[str, tf.io.FixedLenFeature]:
        """Returns the features to read of each example: all but the image."""
        has = set(tf.train.Example.FromString(first).features.feature)
        required = set(self._schema.names) - OUTPUTS.keys() - set(predictions.CHAMPION)
        optional = {names.SPAN} - has if self._champion is not None else set()
        required -= optional
        # A file with features has no images.
        if self._champion is not None and names.FEATURES not in has:
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
    pipeline: beam.Pipeline,
    shards: Sequence[Shard],
    predict: PredictShard,
    featured: Sequence[Shard] = (),
) -> beam.PCollection[pa.RecordBatch]:
    """Predicts every file; only file names are shuffled, never images.

    Args:
      pipeline: the pipeline.
      shards: files with images.
      predict: the step that predicts a file.
      featured: the same files with features instead of images; empty if the model needs images.
    """
    features: Sequence[Shard | None] = featured or [None] * len(shards)
    parts = [
        Part(shard, index, len(shards), of_shard)
        for index, (shard, of_shard) in enumerate(zip(shards, features, strict=True))
    ]
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


def _champion_on(champion: ChampionModel, path: str, indices: np.ndarray) -> Columns:
    return _concatenated(
        champion(tf.io.parse_example(records, _IMAGE)[names.IMAGE])
        for records in spot_check.records_at(path, indices)
    )


def _concatenated(parts: Iterable[Columns]) -> Columns:
    """Returns the columns of at least one batch as those of one."""
    listed = list(parts)
    return {name: np.concatenate([part[name] for part in listed]) for name in listed[0]}


def _as_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        if values.dtype.kind == "U":
            return pa.array(values, kind)
        # A file name may not be valid UTF-8, but a parquet string must be.
        return pa.array([value.decode("utf-8", "replace") for value in values], kind)
    return pa.array(values, kind)
