"""Reads a split of images from its shard files."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components import example_files, names
from components.artifact_files import Shard
from components.trainer.preprocessing import Preprocessing
from components.trainer.units import UnitRule, units_of

_SCAN_BATCH = 256


@dataclass(frozen=True)
class Split:
    """The content of a split, without its images.

    Attributes:
      name: name of the split in messages.
      files: its shards, in order.
      labels: int64 (n,), 1 for the positive class, in the order of the records.
      image_ids: bytes (n,), the images' identities.
      class_names: bytes (n,), the classes as the user named them.
      features_shape: shape of the features by which a FeatureExtractor replaced the images;
        None if the records have images.
      digest: SHA-256, in hex, of all its records in order: the identity of its content.
      features_type: NumPy's name of the features' type; empty if the records have images.
      units: int64 (n,), the same number for images of one unit; None if these were not asked for.
    """

    name: str
    files: tuple[str, ...]
    labels: np.ndarray
    image_ids: np.ndarray
    class_names: np.ndarray
    features_shape: tuple[int, ...] | None
    digest: str
    features_type: str = ""
    units: np.ndarray | None = None

    @property
    def positives(self) -> int:
        """Number of images of the positive class."""
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        """Number of images of all other classes."""
        return len(self.labels) - self.positives


def read_split(name: str, patterns: Iterable[str], *, rule: UnitRule | None = None) -> Split:
    """Reads the labels of a split and the identity of its content, in one pass.

    Args:
      name: name of the split in messages.
      patterns: patterns of uncompressed TFRecord files of tf.Example, as TFX gives them, see
        `example_files.pattern_shards`.
      rule: which images are of one unit; None if the units are not used.

    Raises:
      FileNotFoundError: the split does not exist.
      DamagedArtifactError: a file of the split is missing or has changed.
      ValueError: the split has no positive or no negative image.
    """
    shards = [shard for pattern in patterns for shard in example_files.pattern_shards(pattern)]
    shards.sort(key=lambda shard: shard.path)
    split = _scan(name, shards, rule)
    if not split.positives or not split.negatives:
        raise ValueError(
            f"split {name!r} must have positive and negative images; raise its counts in "
            f"sampler.splits. Received: {split.positives} positive, {split.negatives} negative"
        )
    return split


def _scan(name: str, shards: Sequence[Shard], rule: UnitRule | None) -> Split:
    feature = {
        names.LABEL: tf.io.FixedLenFeature([], tf.int64),
        names.IMAGE_ID: tf.io.FixedLenFeature([], tf.string, ""),
        names.CLASS_NAME: tf.io.FixedLenFeature([], tf.string, ""),
        names.FEATURES_SHAPE: tf.io.RaggedFeature(tf.int64),
        names.FEATURES_TYPE: tf.io.FixedLenFeature([], tf.string, "float16"),
        **_texts_of(rule),
    }
    columns: dict[str, list[np.ndarray]] = {key: [] for key in feature}
    digest = hashlib.sha256()
    for records in _checked_batches(shards):
        parsed = tf.io.parse_example(records, feature)
        shapes = parsed.pop(names.FEATURES_SHAPE)
        columns[names.FEATURES_SHAPE].append(shapes[0].numpy())
        for key, values in parsed.items():
            columns[key].append(values.numpy())
        for record in records.numpy():
            digest.update(record)
    shape = columns[names.FEATURES_SHAPE][0] if columns[names.FEATURES_SHAPE] else ()
    kinds = _column(columns[names.FEATURES_TYPE], object)
    return Split(
        name=name,
        files=tuple(shard.path for shard in shards),
        labels=_column(columns[names.LABEL], np.int64),
        image_ids=_column(columns[names.IMAGE_ID], object),
        class_names=_column(columns[names.CLASS_NAME], object),
        features_shape=tuple(int(side) for side in shape) or None,
        features_type=kinds[0].decode() if len(shape) else "",
        digest=digest.hexdigest(),
        units=None if rule is None else units_of(_texts(columns, rule), rule),
    )


def _texts_of(rule: UnitRule | None) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the columns by which the images of a unit are recognised."""
    if rule is None:
        return {}
    columns = [names.PERCEPTUAL_HASH, *([rule.group_by] if rule.group_by else [])]
    return {column: tf.io.FixedLenFeature([], tf.string, "") for column in columns}


def _texts(columns: Mapping[str, list[np.ndarray]], rule: UnitRule) -> dict[str, np.ndarray]:
    used = [names.IMAGE_ID, names.CLASS_NAME, *_texts_of(rule)]
    return {column: _column(columns[column], object) for column in used}


def _checked_batches(shards: Iterable[Shard]) -> Iterator[tf.Tensor]:
    for shard in shards:
        shard.check_digest()
        count = 0
        for records in example_files.record_batches(shard.path, _SCAN_BATCH):
            count += len(records)
            yield records
        shard.check_count(count)


def _column(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def feature_batches(split: Split, *, batch_size: int, views: int | None = None) -> tf.data.Dataset:
    """Returns the features of a split in the order of `split.labels`.

    Args:
      split: split with features instead of images.
      batch_size: size of all batches except the last.
      views: number of views whose features are read; None: their mean.

    Returns:
      (b, *features_shape), or (b, views, *features_shape).

    Raises:
      ValueError: the records have no features, or none of so many views.
    """
    if split.features_shape is None:
        raise ValueError(f"split {split.name!r} must have features. Received: images")
    column = names.FEATURES if views is None else names.VIEW_FEATURES
    shape = (*(() if views is None else (views,)), *split.features_shape)
    records = tf.data.TFRecordDataset(list(split.files))
    if views is not None:
        _check_views(split, next(iter(records)).numpy(), shape)
    feature = {column: tf.io.FixedLenFeature([], tf.string)}

    def parse(batch: tf.Tensor) -> tf.Tensor:
        encoded = tf.io.parse_example(batch, feature)[column]
        return tf.reshape(tf.io.decode_raw(encoded, split.features_type), (-1, *shape))

    records = records.batch(batch_size)
    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)


def _check_views(split: Split, record: bytes, shape: Sequence[int]) -> None:
    values = tf.train.Example.FromString(record).features.feature[names.VIEW_FEATURES]
    found = sum(map(len, values.bytes_list.value))
    needed = math.prod(shape) * np.dtype(split.features_type).itemsize
    if found != needed:
        raise ValueError(
            f"split {split.name!r} must have the features of each of {shape[0]} views, {needed:,} "
            f"bytes an image; extract them with these views and keeps_views. "
            f"Received: {found:,} bytes"
        )


def image_batches(
    split: Split, preprocessing: Preprocessing, *, batch_size: int
) -> tf.data.Dataset:
    """Returns each of a split's images once, in the order of `split.labels`.

    Returns:
      float32 (b, image_size, image_size, 3), where b is at most `batch_size`.
    """
    feature = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}

    def image(record: tf.Tensor) -> tf.Tensor:
        return preprocessing(tf.io.parse_single_example(record, feature)[names.IMAGE])

    records = tf.data.TFRecordDataset(list(split.files))
    images = records.map(image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(batch_size).prefetch(1)
