"""The work on one shard of images: ingest it, and settle what a verdict says about it.

Images pass from the source's file to the shard's file inside one call; only what is known of
them leaves it, in a small file beside the shard. Files are written under another name first,
so that a bundle which a runner tries again leaves nothing half-written.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf
from tfx.dsl.io import fileio

from components import names
from components.image_example_gen import files
from components.image_example_gen.sources import ImageRecord
from components.image_example_gen.verdict import Refusal
from components.images import reader
from components.images.perceptual_hash import as_hex

# Reasons for a refusal that have to do with the file, not with the image in it.
MISSING = "missing"
UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How images are read.

    Attributes:
      positive_class: images of this class get the label 1.
      max_side: longest side in pixels of a stored image; 0 keeps the size.
      max_pixels: pixels above which an image is refused.
    """

    positive_class: str
    max_side: int
    max_pixels: int


class Arrival(NamedTuple):
    """An image that decodes: `row` in the sorted listing, SHA-256 and perceptual hash in hex."""

    row: int
    image_id: str
    perceptual_hash: str


@dataclass(frozen=True)
class Outcome:
    """What became of a shard's images, each list in the order of the listing."""

    arrivals: list[Arrival]
    refusals: list[Refusal]


@dataclass(frozen=True)
class Settlement:
    """What a verdict says about a shard.

    Attributes:
      destination: path of the final file.
      kept: for each record of the shard, in order, whether it stays; None: all do.
    """

    destination: str
    kept: list[bool] | None


class Staging:
    """The folder in which shards wait for the verdict."""

    def __init__(self, folder: str):
        self.folder = folder

    def _path(self, kind: str, shard: int) -> str:
        return os.path.join(self.folder, f"{kind}-{shard:05d}")

    def examples(self, shard: int) -> str:
        """Path of a shard's TFRecord file."""
        return self._path("examples", shard)

    def write_listing(self, shard: int, first_row: int, records: Sequence[ImageRecord]) -> None:
        """Writes the images that a shard is made of.

        Args:
          shard: its index.
          first_row: index of its first image in the sorted listing.
          records: its images.
        """
        content = {"first_row": first_row, "records": records}
        _write_json(self._path("listing", shard), content)

    def read_listing(self, shard: int) -> tuple[int, list[ImageRecord]]:
        """What `write_listing` wrote: the first row, and the images."""
        content = _read_json(self._path("listing", shard))
        return content["first_row"], [_as_record(record) for record in content["records"]]

    def write_outcome(self, shard: int, outcome: Outcome) -> None:
        """Writes what became of a shard's images."""
        _write_json(self._path("outcome", shard), vars(outcome))

    def read_outcome(self, shard: int) -> Outcome:
        """What `write_outcome` wrote."""
        content = _read_json(self._path("outcome", shard))
        return Outcome(
            [Arrival(*arrival) for arrival in content["arrivals"]],
            [Refusal(*refusal) for refusal in content["refusals"]],
        )

    def write_settlement(self, shard: int, settlement: Settlement) -> None:
        """Writes what the verdict says about a shard."""
        _write_json(self._path("settlement", shard), vars(settlement))

    def read_settlement(self, shard: int) -> Settlement:
        """What `write_settlement` wrote."""
        return Settlement(**_read_json(self._path("settlement", shard)))

    def finished(self) -> int:
        """How many shards have their outcome."""
        return sum(str(name).startswith("outcome-") for name in fileio.listdir(self.folder))


def ingest(shard: int, staging: Staging, rules: Rules) -> None:
    """Reads the images of a shard's listing and writes its examples and its outcome."""
    first_row, records = staging.read_listing(shard)
    outcome = Outcome([], [])
    with _written(staging.examples(shard)) as path, tf.io.TFRecordWriter(path) as writer:
        for row, record in enumerate(records, start=first_row):
            try:
                example, arrival = _ingest_image(row, record, rules)
            except reader.RefusedImageError as error:
                outcome.refusals.append(Refusal(row, error.reason, error.detail))
            else:
                writer.write(example)
                outcome.arrivals.append(arrival)
    staging.write_outcome(shard, outcome)


def _ingest_image(row: int, record: ImageRecord, rules: Rules) -> tuple[bytes, Arrival]:
    data = _read_file(record, rules.max_pixels)
    image = reader.read_image(data, max_pixels=rules.max_pixels, max_side=rules.max_side)
    image_id = hashlib.sha256(data).hexdigest()
    arrival = Arrival(row, image_id, as_hex(image.perceptual_hash))
    return _example(record, image, arrival, rules.positive_class), arrival


def _read_file(record: ImageRecord, max_pixels: int) -> bytes:
    reader.check_bytes(record.size, max_pixels)
    try:
        return files.read_bytes(record.path)
    except FileNotFoundError as error:
        raise reader.RefusedImageError(MISSING, str(error)) from error
    except OSError as error:
        raise reader.RefusedImageError(UNREADABLE, str(error)) from error


def _example(
    record: ImageRecord, image: reader.ReadImage, arrival: Arrival, positive_class: str
) -> bytes:
    is_positive = record.class_name == positive_class
    example = tf.train.Example()
    texts = {
        names.CLASS_NAME: record.class_name,
        names.URI: record.uri,
        names.IMAGE_ID: arrival.image_id,
        names.PERCEPTUAL_HASH: arrival.perceptual_hash,
        **dict(record.slices),
    }
    numbers = {
        names.LABEL: names.POSITIVE_LABEL if is_positive else names.NEGATIVE_LABEL,
        names.WIDTH: image.width,
        names.HEIGHT: image.height,
    }
    features = example.features.feature
    features[names.IMAGE].bytes_list.value.append(image.data)
    for name, text in texts.items():
        features[name].bytes_list.value.append(text.encode())
    for name, number in numbers.items():
        features[name].int64_list.value.append(number)
    return _serialized(example)


def _serialized(example: tf.train.Example) -> bytes:
    # The features are a map, whose order differs from process to process otherwise.
    return example.SerializeToString(deterministic=True)


def settle(shard: int, staging: Staging) -> None:
    """Brings a shard to its destination, without the records that are dropped."""
    settlement = staging.read_settlement(shard)
    source = staging.examples(shard)
    if settlement.kept is None:
        if fileio.exists(source):  # else an earlier try of this bundle has moved it
            fileio.rename(source, settlement.destination, overwrite=True)
        return
    # The scratch file lies in the staging folder: readers take every file of a split's folder.
    scratch = _scratch(source)
    with tf.io.TFRecordWriter(scratch) as writer:
        for example in _settled(source, settlement.kept):
            writer.write(example)
    fileio.rename(scratch, settlement.destination, overwrite=True)


def _settled(source: str, kept: Sequence[bool]) -> Iterator[bytes]:
    for serialized, stays in zip(tf.data.TFRecordDataset(source), kept, strict=True):
        if stays:
            yield serialized.numpy()


@contextlib.contextmanager
def _written(path: str) -> Iterator[str]:
    scratch = _scratch(path)
    yield scratch
    fileio.rename(scratch, path, overwrite=True)


def _scratch(path: str) -> str:
    return f"{path}.{uuid.uuid4().hex}"


def _write_json(path: str, content: Mapping[str, object]) -> None:
    with _written(path) as scratch, fileio.open(scratch, "w") as file:
        file.write(json.dumps(content))


def _read_json(path: str) -> dict:
    with fileio.open(path, "r") as file:
        return json.loads(file.read())


def _as_record(content: Sequence[Any]) -> ImageRecord:
    record = ImageRecord(*content)
    return record._replace(slices=tuple((column, value) for column, value in record.slices))
