"""The Calibrator's executor."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components import feature_records, names, training_balance
from components.artifact_files import Shard
from components.calibrator import (
    calibration,
    operating_point,
    rules,
    shared_variables,
    wording,
)
from components.calibrator.calibration import Calibration
from components.calibrator.export import export
from components.calibrator.operating_point import OperatingPoint
from components.checked_artifacts import checked
from components.evaluator import predictions, spot_check
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
        """Writes a calibrated SavedModel, and its probability for each image of the split.

        Args:
          input_dict: `model`, the Trainer's; `examples`; `sampling`, with the prevalence to which
            the split is weighted; and optionally `featured_examples`, whose features are used if
            the model can be given them.
          output_dict: `calibrated_model` and `val_predictions`.
          exec_properties: `settings`, the JSON of section `calibrator`, and `split`.

        Raises:
          FileNotFoundError: the split has no shard.
          ValueError: see `calibration.calibrate` and `operating_point.choose`.
          UnequalScoresError: the model gives an image another score than its features.
        """
        examples = artifact_utils.get_single_uri(input_dict[names.EXAMPLES])
        serving = _serving_dir(input_dict[names.MODEL])
        trained = tf.saved_model.load(serving)
        split = exec_properties[SPLIT]
        sampling = sampling_report.read(artifact_utils.get_single_uri(input_dict[names.SAMPLING]))
        prevalence = sampling["population"]["prevalence"]
        requested, arguments = _arguments(json.loads(exec_properties[SETTINGS]))
        shards = split_shards(examples, split)
        featured = _featured(input_dict, trained)
        if featured:
            scored = predict_features(trained, split_shards(featured, split), shards, split=split)
        else:
            scored = predict(trained, shards, split=split)
        try:
            calibrated = calibration.calibrate(
                scored.scores,
                scored.labels,
                prevalence=prevalence,
                balance=training_balance.read(serving),
                requested=requested,
            )
            probabilities = calibrated.probabilities(scored.scores)
            point = operating_point.choose(
                probabilities,
                scored.labels,
                prevalence=prevalence,
                promised=True,
                **arguments,
            )
        except ValueError as error:
            raise ValueError(f"no operating point on split {split!r}: {error}") from error
        _log_calibration(calibrated, split)
        _log(point, split)
        target = _serving_dir(output_dict[names.CALIBRATED_MODEL])
        features_key = feature_records.key_of_examples(featured) if featured else ""
        export(trained, point, calibrated, target, features_key=features_key)
        shared_variables.share(serving, target)
        _write_predictions(
            scored.as_table(split, probabilities),
            artifact_utils.get_single_uri(output_dict[names.VAL_PREDICTIONS]),
        )


def _write_predictions(rows: pa.Table, uri: str) -> None:
    fileio.makedirs(uri)
    predictions.write(rows, uri, index=0, count=1)
    predictions.write_list(uri)


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


def _featured(input_dict: dict[str, list[Artifact]], trained: tf.Module) -> str:
    """Returns the URI of examples with features that the model can be given; empty: none."""
    found = input_dict.get(names.FEATURED_EXAMPLES)
    if not found or names.PREDICT_FEATURES not in trained.signatures:
        return ""
    return str(artifact_utils.get_single_uri(found))


def _serving_dir(artifacts: list[Artifact]) -> str:
    return path_utils.serving_model_dir(artifact_utils.get_single_uri(artifacts))


class Scored(NamedTuple):
    """The images of a split, in the order of its records.

    Attributes:
      scores: float32 (n,), the trained model's.
      labels: int64 (n,), 1 for the positive class and 0 for all others.
      texts: bytes (n,) by feature: `image_id`, `uri` and `class_name`.
    """

    scores: np.ndarray
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
    """Predicts the score of each image of a split, and reads its label and identity.

    Args:
      trained: the Trainer's SavedModel, loaded.
      shards: files of tf.Examples.
      split: name of the split, for the progress lines.
    """
    return _scored(lambda batch: _scores(trained, batch), shards, split)


def predict_features(
    trained: tf.Module, featured: Sequence[Shard], shards: Sequence[Shard], *, split: str
) -> Scored:
    """Predicts, as `predict`, from the features of each image, and a sample from the image too.

    Args:
      trained: the Trainer's SavedModel, loaded, which can be given features.
      featured: files of tf.Examples with features instead of images.
      shards: the same files with images.
      split: name of the split, for the progress lines.

    Raises:
      UnequalScoresError: an image and its features have different scores.
    """
    on_features = trained.signatures[names.PREDICT_FEATURES]

    def scores(batch: tf.Tensor) -> np.ndarray:
        features = feature_records.decoded(tf.io.parse_example(batch, feature_records.spec()))
        return on_features(features=tf.constant(features))[names.PROBABILITY].numpy()[:, 0]

    found = _scored(scores, featured, split)
    _check_sample(trained, found, shards)
    return found


def _check_sample(trained: tf.Module, found: Scored, shards: Sequence[Shard]) -> None:
    """Predicts some images, in the order of their files, and compares their scores."""
    nowhere = np.zeros(len(found.scores), bool)
    chosen = spot_check.sample(found.scores, nowhere, size=spot_check.SAMPLE)
    exact: list[np.ndarray] = []
    start = 0
    for shard in shards:
        inside = chosen[(chosen >= start) & (chosen < start + shard.records)] - start
        if inside.size:
            shard.check_digest()
            exact += [_scores(trained, each) for each in spot_check.records_at(shard.path, inside)]
        start += shard.records
    images = [found.texts[names.IMAGE_ID][index].decode() for index in chosen]
    kept = found.scores[chosen]
    spot_check.check(images, kept, np.concatenate([kept[:0], *exact]), what="the trained model")


def _scores(trained: tf.Module, examples: tf.Tensor) -> np.ndarray:
    """Returns the scores, float32 (n,), of serialized tf.Examples with images."""
    outputs = trained.signatures[names.SERVING_DEFAULT](examples=examples)
    return outputs[names.PROBABILITY].numpy()[:, 0]


def _scored(
    scores_of: Callable[[tf.Tensor], np.ndarray], shards: Sequence[Shard], split: str
) -> Scored:
    total = sum(shard.records for shard in shards)
    progress = Progress(f"{split} images", total=total, logger=_LOGGER_NAME)
    scores = [np.zeros(0, np.float32)]
    columns: dict[str, list[np.ndarray]] = {name: [np.zeros(0, object)] for name in _FEATURES}
    for shard in shards:
        shard.check_digest()
        count = 0
        for batch in record_batches(shard.path, _BATCH_SIZE):
            scores.append(scores_of(batch))
            for name, values in tf.io.parse_example(batch, _FEATURES).items():
                columns[name].append(values.numpy())
            progress.advance(len(scores[-1]))
            count += len(scores[-1])
        shard.check_count(count)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    labels = whole.pop(names.LABEL).astype(np.int64)
    return Scored(np.concatenate(scores), labels, whole)
