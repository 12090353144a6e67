"""Examples with features instead of images, made by a test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from listed import list_files

from components import feature_records, names


def write_featured(
    images: Path,
    folder: Path,
    features: Callable[[bytes], np.ndarray],
    *,
    key: str = "key",
) -> Path:
    """Writes Examples whose images are replaced by their features.

    Args:
      images: folder of the Examples with images.
      folder: where to write those with features.
      features: returns the features of an encoded image.
      key: of the features.
    """
    for path in sorted(images.glob("Split-*/data_tfrecord-*")):
        copy = folder / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(copy)) as writer:
            for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
                example = tf.train.Example.FromString(record)
                image = example.features.feature[names.IMAGE].bytes_list.value[0]
                feature_records.add(example, features(image))
                writer.write(example.SerializeToString())
    (folder / feature_records.KEY_FILE).write_text(feature_records.key_text(key))
    list_files(folder)
    return folder
