"""Chooses the images that the page shows, and makes thumbnails of them."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import tensorflow as tf
from PIL import Image

from components import names
from components.artifact_files import Shard
from components.example_files import record_batches
from components.reporter.label_doubt import REASON

_WRONG = 12
_DOUBTED = 24
_SIDE_PIXELS = 160
_JPEG_QUALITY = 80
_BATCH = 256


@dataclass(frozen=True)
class ShownImage:
    """An image on the page.

    Attributes:
      uri: its path relative to the data source.
      split: the split that it is in.
      class_name: its class.
      probability: the predicted probability.
      source: a `data:` URI of a thumbnail, at most 160 pixels high and wide.
      reason: the kind of doubt about its label, see `label_doubt.rank`; empty if not asked.
    """

    uri: str
    split: str
    class_name: str
    probability: float
    source: str
    reason: str


@dataclass(frozen=True)
class ShownImages:
    """The images on the page, the worst first.

    Attributes:
      missed: false negatives, by increasing probability.
      false_alarms: false positives, by decreasing probability.
      doubted: the images whose label the model doubts most.
    """

    missed: list[ShownImage]
    false_alarms: list[ShownImage]
    doubted: list[ShownImage]


def choose(
    predictions: pd.DataFrame, doubted: pd.DataFrame, shards: Iterable[Shard]
) -> ShownImages:
    """Returns the images to show; reads the examples until it has found them all.

    Args:
      predictions: the evaluated images, one row each, with the name of their split.
      doubted: images by increasing quality of their label, see `label_doubt.rank`.
      shards: the files of all splits of these images.
    """
    positive = predictions[names.LABEL] == names.POSITIVE_LABEL
    predicted = predictions[names.IS_POSITIVE] == 1
    missed = predictions[positive & ~predicted].nsmallest(_WRONG, names.PROBABILITY)
    alarms = predictions[~positive & predicted].nlargest(_WRONG, names.PROBABILITY)
    chosen = (missed, alarms, doubted.head(_DOUBTED))
    found = _find({image_id for rows in chosen for image_id in rows[names.IMAGE_ID]}, shards)
    sources = {image_id: _data_uri(encoded) for image_id, encoded in found.items()}
    return ShownImages(*(_with_sources(rows, sources) for rows in chosen))


def _with_sources(rows: pd.DataFrame, sources: Mapping[str, str]) -> list[ShownImage]:
    return [
        ShownImage(
            uri=row[names.URI],
            split=row[names.SPLIT],
            class_name=row[names.CLASS_NAME],
            probability=row[names.PROBABILITY],
            source=sources[row[names.IMAGE_ID]],
            reason=row.get(REASON, ""),
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
