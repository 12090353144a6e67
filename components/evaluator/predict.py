"""Runs the model on the split: each image once, shard by shard."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components import example_files, names
from components.artifact_files import Shard
from components.evaluator import eval_config, predictions
from components.evaluator.metrics import negative_weight
from components.progress import Progress

_BATCH = 64
# Large enough that Beam's overhead per row is small.
_ROWS_PER_RECORD_BATCH = 4096


_OUTPUTS = {
    names.PROBABILITY: np.float32,
    names.SCORE: np.float32,
    names.IS_POSITIVE: np.int64,
    names.NEEDS_REVIEW: np.int64,
}


@dataclass(frozen=True)
class Part:
    """One file of the split."""

    shard: Shard
    index: int
    count: int


class ServedModel:
    """A SavedModel's `serving_default`, which returns a probability and a decision."""

    def __init__(self, folder: str):
        """Loads the model.

        Raises:
          ValueError: the signature or one of its outputs is missing.
        """
        # The loaded object owns the variables: it must live as long as the signature.
        self._loaded = tf.saved_model.load(folder)
        signatures = self._loaded.signatures
        if names.SERVING_DEFAULT not in signatures:
            raise ValueError(
                f"the model in {folder} must have a signature {names.SERVING_DEFAULT!r}. "
                f"Received: {sorted(signatures)}"
            )
        self._signature = signatures[names.SERVING_DEFAULT]
        outputs = set(self._signature.structured_outputs)
        if missing := {names.PROBABILITY, names.IS_POSITIVE} - outputs:
            raise ValueError(
                f"the model in {folder} must also return {sorted(missing)}; evaluate the "
                f"Calibrator's model. Received: {sorted(outputs)}"
            )
        (self._input_name,) = self._signature.structured_input_signature[1]

    def __call__(self, examples: tf.Tensor) -> dict[str, np.ndarray]:
        """Returns the outputs by name, (n,): float32, and int64 for the decisions.

        A model of an earlier version has no score and no review band: its probability is the
        score, and no image needs a review.

        Args:
          examples: serialized tf.Examples, string (n,).
        """
        outputs = self._signature(**{self._input_name: examples})
        no_review = tf.zeros_like(outputs[names.IS_POSITIVE])
        outputs = {
            names.SCORE: outputs[names.PROBABILITY],
            names.NEEDS_REVIEW: no_review,
            **outputs,
        }
        return {
            name: outputs[name].numpy().reshape(-1).astype(kind) for name, kind in _OUTPUTS.items()
        }


class PredictShard(beam.DoFn):
    """Writes the predictions of a shard as parquet, and yields what TFMA slices and counts."""

    def __init__(self, *, model: str, output: str, slice_columns: Sequence[str], total: int):
        """Creates the step.

        Args:
          model: folder of the SavedModel.
          output: URI of the Predictions artifact.
          slice_columns: features of the examples, as text.
          total: images in the split, for the progress lines.
        """
        self._folder = model
        self._output = output
        self._schema = predictions.schema(slice_columns)
        self._progress = Progress("test images", total=total, logger="outnumbered.evaluator")
        # The threads of a worker share one model.
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the model."""
        self._model = self._shared.acquire(lambda: ServedModel(self._folder))

    def process(self, element: Part) -> Iterator[pa.RecordBatch]:
        """Predicts one shard."""
        element.shard.check_digest()
        parts = list(self._predict(element.shard.path))
        rows = pa.Table.from_batches(parts, schema=self._schema)
        element.shard.check_count(len(rows))
        predictions.write(rows, self._output, index=element.index, count=element.count)
        narrow = rows.drop_columns(list(predictions.IDENTITY)).combine_chunks()
        yield from narrow.to_batches(max_chunksize=_ROWS_PER_RECORD_BATCH)

    def _predict(self, path: str) -> Iterator[pa.RecordBatch]:
        spec = None
        for examples in example_files.record_batches(path, _BATCH):
            spec = spec or self._parsing_spec(path, examples[0].numpy())
            columns = tf.io.parse_example(examples, spec)
            columns |= self._model(examples)
            _check_finite(columns[names.PROBABILITY], columns[names.IMAGE_ID].numpy())
            yield self._record_batch(columns)
            self._progress.advance(len(examples))

    def _parsing_spec(self, path: str, first: bytes) -> dict[str, tf.io.FixedLenFeature]:
        """Returns the features to read of each example: all but the image."""
        has = set(tf.train.Example.FromString(first).features.feature)
        required = set(self._schema.names) - _OUTPUTS.keys()
        if missing := required - has:
            raise ValueError(
                f"the examples in {path} must have the columns {sorted(missing)}. "
                f"Received: {sorted(has)}"
            )
        kinds = dict.fromkeys(required, tf.string) | {names.LABEL: tf.int64}
        return {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}

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
        # A file name may not be valid UTF-8, but a parquet string must be.
        return pa.array([value.decode("utf-8", "replace") for value in values], kind)
    return pa.array(values, kind)


def _check_finite(probability: np.ndarray, image_ids: np.ndarray) -> None:
    """Refuses NaN, which would silently count as negative, and infinity."""
    bad = ~np.isfinite(probability)
    if bad.any():
        raise ValueError(
            "probabilities must be finite: the model has diverged; train again with a lower "
            f"learning rate. Received: {probability[bad][0]} for image "
            f"{image_ids[bad][0].decode()}"
        )
