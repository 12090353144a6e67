"""The work on shards of images: ingests them, then writes their final files.

One call copies images from the source's files to the shards' files; only their hashes and refusals
are returned, in a small file next to the shard. Files are written under a temporary name first, so
that a bundle which a runner retries leaves no partial file. TensorFlow and TFX are not imported to
read images.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from components import file_io, names, tf_example
from components.artifact_files import Described
from components.bundle_file import bundle_file
from components.image_example_gen.parallel import map_in_order
from components.image_example_gen.prefetch import Read, reads
from components.image_example_gen.sources import ImageRecord
from components.image_example_gen.verdict import Refusal
from components.images import isolated, reader
from components.images.perceptual_hash import as_hex
from components.tfrecords import RecordWriter


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


class IngestedImage(NamedTuple):
    """An image that decodes.

    Attributes:
      row: its index in the sorted listing.
      image_id: SHA-256 of the source's bytes, in hex.
      perceptual_hash: in hex.
      image_size: pixels of the source's image.
      brightness: see `appearance`.
      sharpness: see `appearance`.
    """

    row: int
    image_id: str
    perceptual_hash: str
    image_size: int
    brightness: float
    sharpness: float


@dataclass(frozen=True)
class Outcome:
    """The ingested and the refused images of a shard, in the order of the listing."""

    ingested: list[IngestedImage]
    refusals: list[Refusal]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Outcome":
        """Returns an outcome that was written as JSON."""
        return cls(
            [IngestedImage(*image) for image in content["ingested"]],
            [Refusal(*refusal) for refusal in content["refusals"]],
        )

    def moved(self, rows: int) -> "Outcome":
        """Returns the outcome with other rows.

        Args:
          rows: is added to each row.
        """
        return Outcome(
            [image._replace(row=image.row + rows) for image in self.ingested],
            [refusal._replace(row=refusal.row + rows) for refusal in self.refusals],
        )


@dataclass(frozen=True)
class ShardPlan:
    """How a shard's final file is written.

    Attributes:
      uri: of the artifact.
      name: path of the final file, relative to `uri`.
      records: number of its records.
      kept: for each record of the shard, in order, whether it is kept; None keeps all.
      size: of the shard in bytes, with all of its records.
      sha256: digest of the shard with all of its records, 64 hex digits.
    """

    uri: str
    name: str
    records: int
    kept: list[bool] | None
    size: int
    sha256: str

    @property
    def entry(self) -> Described | None:
        """Entry of the final file in the list of the artifact's files; None if some are dropped."""
        if self.kept is not None:
            return None
        return Described(self.name, self.records, self.size, self.sha256)

    @property
    def destination(self) -> str:
        """Path of the final file."""
        return os.path.join(self.uri, self.name)


class Staging:
    """The folder of the shards until their final files are written."""

    def __init__(self, folder: str):
        self.folder = folder

    def _path(self, kind: str, shard: int) -> str:
        return os.path.join(self.folder, f"{kind}-{shard:05d}")

    def examples(self, shard: int) -> str:
        """Returns the path of a shard's TFRecord file."""
        return self._path("examples", shard)

    def write_listing(self, shard: int, first_row: int, records: Sequence[ImageRecord]) -> None:
        """Writes the list of a shard's images.

        Args:
          shard: index of the shard.
          first_row: index of its first image in the sorted listing.
          records: its images.
        """
        content = {"first_row": first_row, "records": list(records)}
        _write_json(self._path("listing", shard), content)

    def read_listing(self, shard: int) -> tuple[int, list[ImageRecord]]:
        """Returns the first row and the images that `write_listing` wrote."""
        content = _read_json(self._path("listing", shard))
        return content["first_row"], [_as_record(record) for record in content["records"]]

    def write_outcome(self, shard: int, outcome: Outcome) -> None:
        """Writes the outcome of a shard's ingestion."""
        _write_json(self._path("outcome", shard), vars(outcome))

    def read_outcome(self, shard: int) -> Outcome:
        """Returns what `write_outcome` wrote."""
        return Outcome.of(_read_json(self._path("outcome", shard)))

    def write_plan(self, shard: int, plan: ShardPlan) -> None:
        """Writes how a shard's final file is written."""
        _write_json(self._path("plan", shard), vars(plan))

    def read_plan(self, shard: int) -> ShardPlan:
        """Returns what `write_plan` wrote."""
        return ShardPlan(**_read_json(self._path("plan", shard)))

    def write_entry(self, shard: int, entry: Described) -> None:
        """Writes the entry of a shard's file in a list of files."""
        _write_json(self._path("entry", shard), entry._asdict())

    def read_entry(self, shard: int) -> Described:
        """Returns what `write_entry` wrote."""
        return Described(**_read_json(self._path("entry", shard)))

    def remove_examples(self, shard: int) -> None:
        """Removes a shard's TFRecord file, if it is there."""
        if file_io.exists(path := self.examples(shard)):
            file_io.remove(path)

    def finished(self) -> int:
        """Returns the number of shards that have an outcome."""
        return sum(name.startswith("outcome-") for name in file_io.names(self.folder))


def ingest(
    shards: Sequence[int],
    staging: Staging,
    rules: Rules,
    *,
    workers: int = 1,
    before_images: Callable[[], None] = lambda: None,
    contents: Iterator[Read] | None = None,
) -> None:
    """Reads the images of some shards; writes the examples, the entry and the outcome of each.

    The first images of a shard are read while the one before is written.

    Args:
      shards: their indices.
      staging: has their listings.
      rules: how images are read.
      workers: number of processes that decode them; 1 for this one.
      before_images: called before each few images are read.
      contents: return the contents of the images, in order; None: they are read by their paths.

    Raises:
      StoreError: a file could not be read, for a reason that does not lie in the file.
    """
    listings = [staging.read_listing(shard) for shard in shards]
    read = functools.partial(_read, rules=rules, in_child=workers > 1, before_images=before_images)
    every = [record for _, records in listings for record in records]
    given = None if contents is None else contextlib.nullcontext(contents)
    with given or reads(every, rules.max_pixels) as each:
        images = map_in_order(read, each, threads=workers)
        for shard, listing in zip(shards, listings, strict=True):
            _write(shard, listing, images, staging, rules)


_Found = tuple[reader.ReadImage, str] | reader.RefusedImageError
"""An image and the SHA-256 of its file, or why it is refused."""


def _write(
    shard: int,
    listing: tuple[int, list[ImageRecord]],
    images: Iterator[_Found],
    staging: Staging,
    rules: Rules,
) -> None:
    """Writes a shard, whose images are the next ones."""
    first_row, records = listing
    outcome = Outcome([], [])
    of_shard = zip(records, itertools.islice(images, len(records)), strict=True)
    path = staging.examples(shard)
    with bundle_file(path) as hidden, RecordWriter(hidden) as writer:
        for row, (record, found) in enumerate(of_shard, start=first_row):
            if isinstance(found, reader.RefusedImageError):
                outcome.refusals.append(Refusal(row, found.reason, found.detail))
                continue
            ingested = _ingested(row, *found)
            writer.write(_example(record, found[0], ingested, rules.positive_class))
            outcome.ingested.append(ingested)
    staging.write_entry(shard, writer.described(os.path.basename(path)))
    staging.write_outcome(shard, outcome)


def _read(
    contents: Sequence[Read], *, rules: Rules, in_child: bool, before_images: Callable[[], None]
) -> list[_Found]:
    before_images()
    files = [_content(content) for content in contents]
    images = iter(
        isolated.read_images(
            [data for data in files if isinstance(data, bytes)],
            max_pixels=rules.max_pixels,
            max_side=rules.max_side,
            in_child=in_child,
        )
    )
    return [_with_digest(next(images), data) if isinstance(data, bytes) else data for data in files]


def _content(content: Read) -> bytes | reader.RefusedImageError:
    try:
        return content()
    except reader.RefusedImageError as error:
        return error


def _with_digest(image: reader.ReadImage | reader.RefusedImageError, data: bytes) -> _Found:
    if isinstance(image, reader.RefusedImageError):
        return image
    return image, hashlib.sha256(data).hexdigest()


def _ingested(row: int, image: reader.ReadImage, image_id: str) -> IngestedImage:
    return IngestedImage(
        row,
        image_id,
        as_hex(image.perceptual_hash),
        image_size=image.source_pixels,
        brightness=image.brightness,
        sharpness=image.sharpness,
    )


def _example(
    record: ImageRecord, image: reader.ReadImage, ingested: IngestedImage, positive_class: str
) -> bytes:
    is_positive = record.class_name == positive_class
    features: dict[str, tf_example.Value] = {
        names.CLASS_NAME: record.class_name,
        names.URI: record.uri,
        names.IMAGE_ID: ingested.image_id,
        names.PERCEPTUAL_HASH: ingested.perceptual_hash,
        **dict(record.slices),
        names.IMAGE: image.data,
        names.LABEL: names.POSITIVE_LABEL if is_positive else names.NEGATIVE_LABEL,
        names.WIDTH: image.width,
        names.HEIGHT: image.height,
        names.IMAGE_SIZE: ingested.image_size,
        names.BRIGHTNESS: ingested.brightness,
        names.SHARPNESS: ingested.sharpness,
    }
    if record.span:
        features[names.SPAN] = record.span
    return tf_example.serialized(features)


def move(source: str, plan: ShardPlan) -> None:
    """Moves the file of a shard that keeps all of its records to its destination."""
    if file_io.exists(source):  # else an earlier try of this bundle has moved it
        file_io.rename(source, plan.destination)


def rewrite(shard: int, staging: Staging) -> None:
    """Writes a shard to its destination without the records that are dropped, and its entry."""
    plan = staging.read_plan(shard)
    # In the staging folder, since readers read every file in a split's folder.
    with (
        bundle_file(plan.destination, staging.folder) as hidden,
        RecordWriter(hidden) as writer,
    ):
        for example in _kept_examples(staging.examples(shard), plan.kept or ()):
            writer.write(example)
    staging.write_entry(shard, writer.described(plan.name))


def _kept_examples(source: str, kept: Sequence[bool]) -> Iterator[bytes]:
    import tensorflow as tf

    for serialized, is_kept in zip(tf.data.TFRecordDataset(source), kept, strict=True):
        if is_kept:
            yield serialized.numpy()


def _write_json(path: str, content: Mapping[str, object]) -> None:
    with bundle_file(path) as scratch, file_io.open_file(scratch, "w") as file:
        file.write(json.dumps(content))


def _read_json(path: str) -> dict:
    with file_io.open_file(path, "r") as file:
        return json.loads(file.read())


def _as_record(content: Sequence[Any]) -> ImageRecord:
    uri, path, class_name, slices, *others = content
    return ImageRecord(uri, path, class_name, tuple(map(tuple, slices)), *others)
