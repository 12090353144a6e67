"""Writes the splits train and val of a run: images, features, and the Calibrator's predictions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from listed import list_files

from components import example_files, names
from components.evaluator import predictions

CHANNELS = 16


@dataclass(frozen=True)
class OtherSplit:
    """Images of a split that is not evaluated."""

    name: str
    labels: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray

    @property
    def uris(self) -> list[str]:
        return [f"{self.name}/{index}.jpg" for index in range(len(self.labels))]

    @property
    def image_ids(self) -> list[str]:
        return [hashlib.sha256(uri.encode()).hexdigest() for uri in self.uris]

    def columns(self, positive_class: str) -> dict[str, list]:
        return {
            names.IMAGE_ID: self.image_ids,
            names.URI: self.uris,
            names.CLASS_NAME: [positive_class if label else "cats" for label in self.labels],
            names.LABEL: self.labels.tolist(),
        }


def drawn_split(name: str, positives: int, negatives: int, seed: int) -> OtherSplit:
    """Images that a linear model separates, in directions that it sees from the origin."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    features = rng.normal(0, 0.25, (len(labels), CHANNELS))
    features[:, 0] += 1 - labels
    features[:, 1] += labels
    probabilities = rng.uniform(0, 0.4, len(labels)) + 0.6 * labels
    return OtherSplit(name, labels, probabilities, 8 * features)


def write_records(
    root: str, split: OtherSplit, positive_class: str, extra: dict[str, list]
) -> None:
    """Writes a split of two shards; `extra` has further features, as bytes or lists of int."""
    folder = Path(example_files.split_dir(root, split.name))
    folder.mkdir(parents=True)
    columns = split.columns(positive_class) | extra
    for shard in range(2):
        path = folder / example_files.shard_name(shard, 2)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index in range(shard, len(split.labels), 2):
                feature = {key: _feature(values[index]) for key, values in columns.items()}
                writer.write(
                    tf.train.Example(
                        features=tf.train.Features(feature=feature)
                    ).SerializeToString()
                )
    list_files(root)


def write_features(root: str, split: OtherSplit, positive_class: str) -> None:
    """Writes a split with features instead of images, as a map of one column and two rows."""
    maps = np.stack([split.features - 0.5, split.features + 0.5], axis=1)[:, :, None]
    extra = {
        names.FEATURES: [values.astype(np.float16).tobytes() for values in maps],
        names.FEATURES_SHAPE: [[2, 1, CHANNELS]] * len(maps),
        names.FEATURES_TYPE: [b"float16"] * len(maps),
    }
    write_records(root, split, positive_class, extra)


def write_predictions(uri: str, split: OtherSplit, positive_class: str) -> None:
    table = pa.table(
        split.columns(positive_class)
        | {
            names.SPLIT: [split.name] * len(split.labels),
            names.PROBABILITY: split.probabilities.astype(np.float32),
        }
    )
    predictions.write(table, uri, index=0, count=1)
    predictions.write_list(uri)


def _feature(value: str | bytes | int | list[int]) -> tf.train.Feature:
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    numbers = value if isinstance(value, list) else [value]
    return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
