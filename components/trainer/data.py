"""A split of images, read from its shard files."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from components import names
from components.trainer.preprocessing import Preprocessing

_SCAN_BATCH = 256


@dataclass(frozen=True)
class Split:
    """What a split holds, short of its images.

    Attributes:
      name: what messages call it.
      files: its shards, in order.
      labels: int64 (n,), 1 for the positive class, in the order of the records.
      digest: SHA-256, in hex, of all its records in order: the identity of its content.
    """

    name: str
    files: tuple[str, ...]
    labels: np.ndarray
    digest: str

    @property
    def positives(self) -> int:
        """How many images are of the positive class."""
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        """How many images are of any other class."""
        return len(self.labels) - self.positives


def read_split(name: str, patterns: Iterable[str]) -> Split:
    """Reads the labels of a split and the identity of its content, in one pass.

    Args:
      name: what messages call the split.
      patterns: files or glob patterns of uncompressed TFRecord files of tf.Example.

    Raises:
      FileNotFoundError: no file matches.
      ValueError: one of the two sides has no image.
    """
    patterns = list(patterns)
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    if not files:
        raise FileNotFoundError(f"split {name!r} has no file; looked for {patterns}")
    labels, digest = _scan(files)
    split = Split(name=name, files=tuple(files), labels=labels, digest=digest)
    if not split.positives or not split.negatives:
        raise ValueError(
            f"split {name!r} needs images of both sides, and has {split.positives} positive "
            f"and {split.negatives} negative; raise its counts in sampler.splits"
        )
    return split


def _scan(files: list[str]) -> tuple[np.ndarray, str]:
    feature = {names.LABEL: tf.io.FixedLenFeature([], tf.int64)}
    labels, digest = [np.zeros(0, np.int64)], hashlib.sha256()
    for records in tf.data.TFRecordDataset(files).batch(_SCAN_BATCH):
        labels.append(tf.io.parse_example(records, feature)[names.LABEL].numpy())
        for record in records.numpy():
            digest.update(record)
    return np.concatenate(labels), digest.hexdigest()


def image_batches(
    split: Split, preprocessing: Preprocessing, *, batch_size: int
) -> tf.data.Dataset:
    """A split's images, once each, in the order of `split.labels`.

    Returns:
      float32 (b, image_size, image_size, 3) with b of at most `batch_size`.
    """
    feature = {names.IMAGE: tf.io.FixedLenFeature([], tf.string)}

    def image(record: tf.Tensor) -> tf.Tensor:
        return preprocessing(tf.io.parse_single_example(record, feature)[names.IMAGE])

    records = tf.data.TFRecordDataset(list(split.files))
    images = records.map(image, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(batch_size).prefetch(1)
