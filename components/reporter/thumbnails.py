"""Thumbnails of the images with the most wrong predictions."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import tensorflow as tf
from PIL import Image

from components import names
from components.artifact_files import Shard
from components.example_files import record_batches

_SHOWN = 12
_SIDE_PIXELS = 160
_JPEG_QUALITY = 80
_BATCH = 256


@dataclass(frozen=True)
class WrongImage:
    """An image on the wrong side of the threshold.

    Attributes:
      uri: its path relative to the data source.
      class_name: its class.
      probability: the predicted probability.
      source: a `data:` URI of a thumbnail, at most 160 pixels high and wide.
    """

    uri: str
    class_name: str
    probability: float
    source: str


@dataclass(frozen=True)
class WrongImages:
    """The images with the most wrong predictions, the worst first.

    Attributes:
      missed: false negatives, by increasing probability.
      false_alarms: false positives, by decreasing probability.
    """

    missed: list[WrongImage]
    false_alarms: list[WrongImage]


def most_wrong(predictions: pd.DataFrame, shards: Iterable[Shard]) -> WrongImages:
    """Returns the most wrong images; reads the examples until it has found them all.

    Args:
      predictions: one row per image.
      shards: the files of the split.
    """
    positive = predictions[names.LABEL] == names.POSITIVE_LABEL
    predicted = predictions[names.IS_POSITIVE] == 1
    missed = predictions[positive & ~predicted].nsmallest(_SHOWN, names.PROBABILITY)
    alarms = predictions[~positive & predicted].nlargest(_SHOWN, names.PROBABILITY)
    found = _find({*missed[names.IMAGE_ID], *alarms[names.IMAGE_ID]}, shards)
    return WrongImages(_with_images(missed, found), _with_images(alarms, found))


def _with_images(rows: pd.DataFrame, found: dict[str, bytes]) -> list[WrongImage]:
    return [
        WrongImage(
            uri=row[names.URI],
            class_name=row[names.CLASS_NAME],
            probability=row[names.PROBABILITY],
            source=_data_uri(found[row[names.IMAGE_ID]]),
        )
        for row in rows.to_dict("records")
    ]


def _find(image_ids: set[str], shards: Iterable[Shard]) -> dict[str, bytes]:
    """Returns the encoded images with these ids, by id."""
    found: dict[str, bytes] = {}
    spec = {names.IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}
    for shard in shards:
        if len(found) == len(image_ids):
            return found
        shard.check_digest()
        for examples in record_batches(shard.path, _BATCH):
            ids = tf.io.parse_example(examples, spec)[names.IMAGE_ID].numpy()
            for index, image_id in enumerate(ids):
                if image_id.decode() in image_ids:
                    example = tf.train.Example.FromString(examples[index].numpy())
                    image = example.features.feature[names.IMAGE].bytes_list.value[0]
                    found[image_id.decode()] = image
    if missing := image_ids - found.keys():
        raise ValueError(
            "the examples must be those of the predictions, but some images are not among them. "
            f"Received: predictions of {len(missing)} other images, such as {min(missing)}"
        )
    return found


def _data_uri(encoded: bytes) -> str:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
    small.thumbnail((_SIDE_PIXELS, _SIDE_PIXELS))
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
