"""The images that the model got most wrong, small enough for a page."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import tensorflow as tf
from PIL import Image

from components import names

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
      probability: what the model gave.
      source: a `data:` URI of it, at most 160 pixels high and wide.
    """

    uri: str
    class_name: str
    probability: float
    source: str


@dataclass(frozen=True)
class WrongImages:
    """The most wrong ones first.

    Attributes:
      missed: positives, those of the lowest probability first.
      false_alarms: others, those of the highest first.
    """

    missed: list[WrongImage]
    false_alarms: list[WrongImage]


def most_wrong(predictions: pd.DataFrame, files: Iterable[str]) -> WrongImages:
    """Finds the most wrong images among the examples; reads until it has them all.

    Args:
      predictions: a row an image.
      files: the shards of the split.
    """
    positive = predictions[names.LABEL] == names.POSITIVE_LABEL
    called = predictions[names.IS_POSITIVE] == 1
    missed = predictions[positive & ~called].nsmallest(_SHOWN, names.PROBABILITY)
    alarms = predictions[~positive & called].nlargest(_SHOWN, names.PROBABILITY)
    found = _find({*missed[names.IMAGE_ID], *alarms[names.IMAGE_ID]}, files)
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


def _find(wanted: set[str], files: Iterable[str]) -> dict[str, bytes]:
    """The encoded images of `wanted`, by image_id."""
    found: dict[str, bytes] = {}
    spec = {names.IMAGE_ID: tf.io.FixedLenFeature([], tf.string)}
    for file in files:
        for examples in tf.data.TFRecordDataset([file]).batch(_BATCH):
            if len(found) == len(wanted):
                return found
            ids = tf.io.parse_example(examples, spec)[names.IMAGE_ID].numpy()
            for index, image_id in enumerate(ids):
                if image_id.decode() in wanted:
                    example = tf.train.Example.FromString(examples[index].numpy())
                    image = example.features.feature[names.IMAGE].bytes_list.value[0]
                    found[image_id.decode()] = image
    if missing := wanted - found.keys():
        raise ValueError(
            f"{len(missing)} images of the predictions are not among the examples, such as "
            f"{min(missing)}; report on the examples that the predictions were made from"
        )
    return found


def _data_uri(encoded: bytes) -> str:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
    small.thumbnail((_SIDE_PIXELS, _SIDE_PIXELS))
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
