"""What the examples hold: the images, the positives and a digest of each data span, and of all.

ImageExampleGen writes the file `spans.json`. Examples of older versions have no such file.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from tfx.dsl.io import fileio

from components import artifact_files
from components.artifact_files import Described

FILE = "spans.json"
SCHEMA_VERSION = 1


class KeptImage(NamedTuple):
    """An image that is in the examples.

    Attributes:
      image_id: SHA-256 of the source's bytes, in hex.
      class_name: its class.
      is_positive: whether that is the positive class.
    """

    image_id: str
    class_name: str
    is_positive: bool


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class SpanRecord(_Record):
    """What one data span adds to the examples.

    Attributes:
      span: a number or a date; empty if the source has no spans.
      images: number of its images, without those that an earlier span has too.
      positives: how many of them are positive.
      digest: of the identities and classes of these images, 64 hex digits; the same images have
        the same digest, wherever they are.
    """

    span: str
    images: int
    positives: int
    digest: str


class DataRecord(_Record):
    """What the examples hold.

    Attributes:
      schema_version: version of the file's format.
      spans: oldest first; one if the source has no spans.
      images: number of images of all spans.
      positives: how many of them are positive.
      digest: as that of a span, of all images.
    """

    schema_version: int
    spans: tuple[SpanRecord, ...]
    images: int
    positives: int
    digest: str


def summarize(kept: Mapping[str, Iterable[KeptImage]]) -> DataRecord:
    """Returns the record of the examples.

    Args:
      kept: the images that are kept of each span, oldest span first.
    """
    images = {span: list(found) for span, found in kept.items()}
    together = [image for found in images.values() for image in found]
    return DataRecord(
        schema_version=SCHEMA_VERSION,
        spans=tuple(
            SpanRecord(
                span=span, images=len(found), positives=_positives(found), digest=_digest(found)
            )
            for span, found in images.items()
        ),
        images=len(together),
        positives=_positives(together),
        digest=_digest(together),
    )


def write(record: DataRecord, uri: str) -> Described:
    """Writes the file into the Examples artifact at `uri`, and returns its entry in the list."""
    with fileio.open(os.path.join(uri, FILE), "w") as file:
        file.write(json.dumps(record.model_dump(mode="json"), indent=2) + "\n")
    return artifact_files.describe(uri, FILE)


def read(uri: str) -> DataRecord | None:
    """Reads the file of the Examples artifact at `uri`; None for examples of an older version.

    Raises:
      DamagedArtifactError: the file is listed, but missing or changed.
    """
    listed = [file for file in artifact_files.listed_files(uri) if file.path.endswith(FILE)]
    if not listed:
        return None
    listed[0].check_digest()
    with fileio.open(listed[0].path, "r") as file:
        content = file.read()
    try:
        return DataRecord.model_validate_json(content)
    except ValidationError as error:
        raise artifact_files.damaged(listed[0].path, f"it can't be read: {error}") from error


def _positives(images: Iterable[KeptImage]) -> int:
    return sum(image.is_positive for image in images)


def _digest(images: Iterable[KeptImage]) -> str:
    digest = hashlib.sha256()
    for image in sorted(images):
        digest.update(json.dumps([image.image_id, image.class_name]).encode() + b"\n")
    return digest.hexdigest()
