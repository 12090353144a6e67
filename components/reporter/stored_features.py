"""Reads the features that a frozen backbone computed of images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from components import feature_records, names
from components.artifact_files import Shard
from components.example_files import record_batches

MOST = 10_000
"""About as many images are read of a larger split, so that time and memory stay small."""
_BATCH = 256
_TEXTS = (names.IMAGE_ID, names.URI, names.CLASS_NAME)
_SPEC = {
    **{name: tf.io.FixedLenFeature([], tf.string, "") for name in _TEXTS},
    names.LABEL: tf.io.FixedLenFeature([], tf.int64),
    **feature_records.spec(),
}


class StoredFeatures(NamedTuple):
    """Images and their features, in the order of their ids.

    Attributes:
      images: `image_id`, `uri`, `class_name` and `label`, one row per image.
      values: float32 (n, channels), averaged over the image if the features are a map.
      total: number of images of the split, of which the n are a part.
    """

    images: pd.DataFrame
    values: NDArray[np.float32]
    total: int


def read(shards: Sequence[Shard], most: int | None = None) -> StoredFeatures:
    """Reads a split with features.

    Args:
      shards: its files.
      most: about as many images are read of a larger split; None for `MOST`. Which ones depends on
        their ids, which are digests and so as good as random.
    """
    total = sum(shard.records for shard in shards)
    # The first 32 bits of an image's id, compared with the share of images to read.
    limit = 2**32 * min(1.0, (most or MOST) / total)
    rows: list[dict[str, object]] = []
    values: list[NDArray[np.float32]] = []
    for shard in shards:
        shard.check_digest()
        for records in record_batches(shard.path, _BATCH):
            parsed = tf.io.parse_example(records, _SPEC)
            features = feature_records.decoded(parsed)
            del parsed[names.FEATURES_SHAPE]
            columns = {name: column.numpy() for name, column in parsed.items()}
            for index, image_id in enumerate(columns[names.IMAGE_ID]):
                if int(image_id[:8], 16) < limit:
                    rows.append(_row(columns, index))
                    values.append(_pooled(features[index]))
    images = pd.DataFrame(rows)
    order = images[names.IMAGE_ID].argsort(kind="stable").to_numpy()
    return StoredFeatures(images.iloc[order].reset_index(drop=True), np.stack(values)[order], total)


def _row(columns: dict[str, NDArray], index: int) -> dict[str, object]:
    texts = {name: columns[name][index].decode() for name in _TEXTS}
    return {**texts, names.LABEL: int(columns[names.LABEL][index])}


def _pooled(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Returns features averaged over all but their last axis."""
    return features.reshape(-1, features.shape[-1]).mean(axis=0, dtype=np.float32)
