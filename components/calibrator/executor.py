"""The Calibrator's executor."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components import names, training_balance
from components.artifact_files import Shard
from components.calibrator import calibration, operating_point, rules, wording
from components.calibrator.calibration import Calibration
from components.calibrator.export import export
from components.calibrator.operating_point import OperatingPoint
from components.checked_artifacts import checked
from components.evaluator.metrics import Costs
from components.example_files import record_batches, split_shards
from components.imbalance_sampler import report as sampling_report
from components.progress import Progress

_LOGGER_NAME = "outnumbered.calibrator"
_BATCH_SIZE = 32

# Execution properties.
SETTINGS = "settings"
SPLIT = "split"

# Key of the settings.
_CALIBRATION = "calibration"


class Executor(BaseExecutor):
    """Calibrates a model, chooses its operating point, and exports the model with both."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes a calibrated SavedModel.

        Args:
          input_dict: `model`, the Trainer's; `examples`; and `sampling`, with the prevalence to
            which the split is weighted.
          output_dict: `calibrated_model`.
          exec_properties: `settings`, the JSON of section `calibrator`, and `split`.

        Raises:
          FileNotFoundError: the split has no shard.
          ValueError: see `calibration.calibrate` and `operating_point.choose`.
        """
        examples = artifact_utils.get_single_uri(input_dict[names.EXAMPLES])
        serving = _serving_dir(input_dict[names.MODEL])
        trained = tf.saved_model.load(serving)
        split = exec_properties[SPLIT]
        sampling = sampling_report.read(artifact_utils.get_single_uri(input_dict[names.SAMPLING]))
        prevalence = sampling["population"]["prevalence"]
        requested, arguments = _arguments(json.loads(exec_properties[SETTINGS]))
        scores, labels = predict(trained, split_shards(examples, split), split=split)
        try:
            calibrated = calibration.calibrate(
                scores,
                labels,
                prevalence=prevalence,
                balance=training_balance.read(serving),
                requested=requested,
            )
            point = operating_point.choose(
                calibrated.probabilities(scores),
                labels,
                prevalence=prevalence,
                promised=True,
                **arguments,
            )
        except ValueError as error:
            raise ValueError(f"no operating point on split {split!r}: {error}") from error
        _log_calibration(calibrated, split)
        _log(point, split)
        export(trained, point, calibrated, _serving_dir(output_dict[names.CALIBRATED_MODEL]))


def _log_calibration(calibrated: Calibration, split: str) -> None:
    logger = logging.getLogger(_LOGGER_NAME)
    logger.info("calibration on %s: %s", split, calibrated.as_sentence())
    for remark in calibrated.remarks:
        logger.warning("calibration on %s: %s", split, remark)


def _log(point: OperatingPoint, split: str) -> None:
    logger = logging.getLogger(_LOGGER_NAME)
    logger.info(
        "operating point %.4f by rule %s on %s, weighted to a prevalence of %.3g: "
        "precision %.3f, recall %.3f",
        *(point.threshold, point.rule, split, point.prevalence, point.precision, point.recall),
    )
    for line in wording.promised(asdict(point)):
        logger.info("%s", line)
    for remark in point.remarks:
        logger.warning("operating point on %s: %s", split, remark)


def _arguments(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the requested calibration and the arguments of `choose`.

    Settings that are not given have the defaults of `choose`.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if costs := given.get(rules.COSTS):
        given[rules.COSTS] = Costs(**costs)
    return given.pop(_CALIBRATION, calibration.AUTO), given


def _serving_dir(artifacts: list[Artifact]) -> str:
    return path_utils.serving_model_dir(artifact_utils.get_single_uri(artifacts))


def predict(
    trained: tf.Module, shards: Sequence[Shard], *, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts the score of each image of a split, and reads its label.

    Args:
      trained: the Trainer's SavedModel, loaded.
      shards: files of tf.Examples.
      split: name of the split, for the progress lines.

    Returns:
      Scores, float32 (n,), and labels, int64 (n,), in the order of the records.
    """
    feature = {names.LABEL: tf.io.FixedLenFeature([], tf.int64)}
    total = sum(shard.records for shard in shards)
    progress = Progress(f"{split} images", total=total, logger=_LOGGER_NAME)
    scores, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for shard in shards:
        shard.check_digest()
        before = len(labels)
        for batch in record_batches(shard.path, _BATCH_SIZE):
            outputs = trained.signatures[names.SERVING_DEFAULT](examples=batch)
            scores.append(outputs[names.PROBABILITY].numpy()[:, 0])
            labels.append(tf.io.parse_example(batch, feature)[names.LABEL].numpy())
            progress.advance(len(labels[-1]))
        shard.check_count(sum(map(len, labels[before:])))
    return np.concatenate(scores), np.concatenate(labels)
