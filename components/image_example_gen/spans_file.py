"""What the examples hold: the images, the positives and a digest of each data span, and of all.

ImageExampleGen writes the file `spans.json`. Examples of older versions have no such file.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from tfx.dsl.io import fileio

from components import artifact_files
from components.artifact_files import Described

FILE = "spans.json"
SCHEMA_VERSION = 1
_DIGEST_BYTES = 32


class KeptImages(NamedTuple):
    """Images that are in the examples, each once.

    Attributes:
      digests: S32 (n,), SHA-256 of the source's bytes.
      classes: int (n,), positions in the names of the classes.
    """

    digests: NDArray[np.bytes_]
    classes: NDArray[np.integer[Any]]


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


def summarize(
    kept: Mapping[str, KeptImages], *, class_names: Sequence[str], positive_class: str
) -> DataRecord:
    """Returns the record of the examples.

    Args:
      kept: the images that are kept of each span, oldest span first.
      class_names: of all classes.
      positive_class: one of them.
    """
    is_positive = np.array([name == positive_class for name in class_names], bool)
    spans = tuple(
        SpanRecord(
            span=span,
            images=len(found.digests),
            positives=int(is_positive[found.classes].sum()),
            digest=_digest(found, class_names),
        )
        for span, found in kept.items()
    )
    digests, classes = zip(*kept.values(), strict=True)
    together = KeptImages(np.concatenate(digests), np.concatenate(classes))
    return DataRecord(
        schema_version=SCHEMA_VERSION,
        spans=spans,
        images=sum(span.images for span in spans),
        positives=sum(span.positives for span in spans),
        digest=spans[0].digest if len(spans) == 1 else _digest(together, class_names),
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


def _digest(images: KeptImages, class_names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    texts = [json.dumps(name) for name in class_names]
    for row in np.argsort(images.digests):
        # numpy takes off the zeros at the end.
        image_id = images.digests[row].ljust(_DIGEST_BYTES, b"\0").hex()
        digest.update(f'["{image_id}", {texts[images.classes[row]]}]\n'.encode())
    return digest.hexdigest()
