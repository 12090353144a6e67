"""The Calibrator's executor."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components import names
from components.calibrator import operating_point
from components.calibrator.export import export
from components.calibrator.operating_point import OperatingPoint
from components.evaluator import predictions
from components.example_files import Shard, checks_digests, record_batches, split_shards
from components.imbalance_sampler import report as sampling_report
from components.progress import Progress

_LOGGER_NAME = "outnumbered.calibrator"
_BATCH_SIZE = 32

# Execution properties.
RULE = "rule"
PRECISION_FLOOR = "precision_floor"
THRESHOLD = "threshold"
SPLIT = "split"


class Executor(BaseExecutor):
    """Chooses the operating point of a model and exports the model with it."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes a calibrated SavedModel, and its probability for each image of the split.

        Args:
          input_dict: `model`, the Trainer's; `examples`; and `sampling`, with the prevalence to
            which the split is weighted.
          output_dict: `calibrated_model` and `val_predictions`.
          exec_properties: `rule`, `precision_floor`, `threshold` and `split`.

        Raises:
          FileNotFoundError: the split has no shard.
          ValueError: see `operating_point.choose`.
        """
        examples = artifact_utils.get_single_uri(input_dict[names.EXAMPLES])
        trained = tf.saved_model.load(_serving_dir(input_dict[names.MODEL]))
        split = exec_properties[SPLIT]
        sampling = sampling_report.read(artifact_utils.get_single_uri(input_dict[names.SAMPLING]))
        scored = predict(trained, split_shards(examples, split), split=split)
        try:
            point = operating_point.choose(
                scored.probabilities,
                scored.labels,
                rule=exec_properties[RULE],
                prevalence=sampling["population"]["prevalence"],
                precision_floor=exec_properties[PRECISION_FLOOR],
                threshold=exec_properties[THRESHOLD],
            )
        except ValueError as error:
            raise ValueError(f"no operating point on split {split!r}: {error}") from error
        _log(point, split)
        export(trained, point, _serving_dir(output_dict[names.CALIBRATED_MODEL]))
        _write_predictions(
            scored.as_table(split, scored.probabilities),
            artifact_utils.get_single_uri(output_dict[names.VAL_PREDICTIONS]),
            check_digests=checks_digests(examples),
        )


def _write_predictions(rows: pa.Table, uri: str, *, check_digests: bool) -> None:
    fileio.makedirs(uri)
    predictions.write(rows, uri, index=0, count=1)
    predictions.write_list(uri, check_digests=check_digests)


def _log(point: OperatingPoint, split: str) -> None:
    logger = logging.getLogger(_LOGGER_NAME)
    logger.info(
        "operating point %.4f by rule %s on %s, weighted to a prevalence of %.3g: "
        "precision %.3f, recall %.3f",
        *(point.threshold, point.rule, split, point.prevalence, point.precision, point.recall),
    )
    for remark in point.remarks:
        logger.warning("operating point on %s: %s", split, remark)


def _serving_dir(artifacts: list[Artifact]) -> str:
    return path_utils.serving_model_dir(artifact_utils.get_single_uri(artifacts))


class Scored(NamedTuple):
    """The images of a split, in the order of its records.

    Attributes:
      probabilities: float32 (n,), the trained model's.
      labels: int64 (n,), 1 for the positive class and 0 for all others.
      texts: bytes (n,) by feature: `image_id`, `uri` and `class_name`.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    texts: dict[str, np.ndarray]

    def as_table(self, split: str, probabilities: np.ndarray) -> pa.Table:
        """Returns one row per image, with the name of the split and the given probabilities."""
        return pa.table(
            {
                **{name: [text.decode() for text in found] for name, found in self.texts.items()},
                names.SPLIT: [split] * len(self.labels),
                names.LABEL: self.labels,
                names.PROBABILITY: probabilities,
            }
        )


_FEATURES = {
    names.LABEL: tf.io.FixedLenFeature([], tf.int64),
    **{
        name: tf.io.FixedLenFeature([], tf.string, "")
        for name in (names.IMAGE_ID, names.URI, names.CLASS_NAME)
    },
}


def predict(trained: tf.Module, shards: Sequence[Shard], *, split: str) -> Scored:
    """Predicts the probability of each image of a split, and reads its label and identity.

    Args:
      trained: the Trainer's SavedModel, loaded.
      shards: files of tf.Examples.
      split: name of the split, for the progress lines.
    """
    total = sum(shard.records for shard in shards)
    progress = Progress(f"{split} images", total=total, logger=_LOGGER_NAME)
    probabilities = [np.zeros(0, np.float32)]
    columns: dict[str, list[np.ndarray]] = {name: [np.zeros(0, object)] for name in _FEATURES}
    for shard in shards:
        shard.check_digest()
        count = 0
        for batch in record_batches(shard.path, _BATCH_SIZE):
            outputs = trained.signatures[names.SERVING_DEFAULT](examples=batch)
            probabilities.append(outputs[names.PROBABILITY].numpy()[:, 0])
            for name, values in tf.io.parse_example(batch, _FEATURES).items():
                columns[name].append(values.numpy())
            progress.advance(len(probabilities[-1]))
            count += len(probabilities[-1])
        shard.check_count(count)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    labels = whole.pop(names.LABEL).astype(np.int64)
    return Scored(np.concatenate(probabilities), labels, whole)
