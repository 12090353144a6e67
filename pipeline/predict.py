"""Predictions of a pushed model for images on disk, read just as a run reads them."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from components import names
from components.image_example_gen import files
from components.images import reader
from components.images.rules import ReadingRules, read_rules
from components.images.signature import HEAD_BYTES, begins_like_an_image
from pipeline.terminal import plain

BATCH_SIZE = 32
NO_IMAGES = "files that are no images"
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Endings of names by which a file is meant as an image, whether it can be read or not."""


class PredictError(ValueError):
    """Images or a model that are not there; the message says what to give instead."""


@dataclass(frozen=True)
class Row:
    """The model's word on one image.

    Attributes:
      path: the image.
      probability: probability in [0, 1] of the positive class; None where it can't be read.
      is_positive: whether the probability reaches the operating point.
      error: why the image can't be read.
    """

    path: Path
    probability: float | None = None
    is_positive: bool | None = None
    error: str | None = None


def find_images(paths: Iterable[Path], passed_over: Counter[str] | None = None) -> list[Path]:
    """The images among files and, sorted, in folders at any depth.

    A file that is given itself counts as an image. In a folder an image is told by how it
    begins or how its name ends, and leftovers of operating and storage systems are passed over
    as the ingestion does.

    Args:
      paths: files and folders.
      passed_over: is filled with how many files and folders were left out, by kind.

    Raises:
      PredictError: a path does not exist, or a folder holds no image.
    """
    counted = Counter() if passed_over is None else passed_over
    return list(itertools.chain.from_iterable(_images_at(path, counted) for path in paths))


def _images_at(path: Path, passed_over: Counter[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise PredictError(f"{path} does not exist; give an image, or a folder of images")
    try:
        found = sorted(Path(file.path) for file in files.walk(str(path), passed_over))
    except OSError as error:
        raise PredictError(f"the images in {path} can't be listed: {error}") from error
    images = [file for file in found if _is_meant_as_image(file)]
    if len(images) < len(found):
        passed_over[NO_IMAGES] += len(found) - len(images)
    if not images:
        without = f" ({files.passed_over_text(passed_over)})" if passed_over else ""
        raise PredictError(f"no image in {path}{without}; give a folder of images, or an image")
    return images


def _is_meant_as_image(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        # Unbuffered: from a slow disk no more is read than is looked at.
        with open(path, "rb", buffering=0) as file:
            return begins_like_an_image(file.read(HEAD_BYTES))
    except OSError:  # nobody knows: to be told with the reason
        return True


def newest_model(path: Path) -> Path:
    """The SavedModel at `path`, or the newest version in it if it is a registry.

    Raises:
      PredictError: neither is there.
    """
    if (path / "saved_model.pb").is_file():
        return path
    versions = [p for p in path.glob("*/") if p.name.isdigit() and (p / "saved_model.pb").is_file()]
    if not versions:
        raise PredictError(
            f"no model at {path}; give --model the folder of a pushed model or of a registry"
        )
    return max(versions, key=lambda version: int(version.name))


def predict(model: Path, images: Iterable[Path]) -> Iterator[Row]:
    """The prediction for each image, in order, a batch at a time.

    Args:
      model: folder of a SavedModel that the Calibrator made.
      images: files; one that can't be read becomes a row with its error.

    Raises:
      RulesError: the model does not say how images are read for it.
    """
    return _predictions(model, read_rules(model), images)


def _predictions(model: Path, rules: ReadingRules, images: Iterable[Path]) -> Iterator[Row]:
    import tensorflow as tf

    signature = tf.saved_model.load(str(model)).signatures[names.SERVING_DEFAULT]
    for batch in _batches(images, BATCH_SIZE):
        read = [_read(path, rules) for path in batch]
        examples = [_example(data) for data in read if isinstance(data, bytes)]
        outputs = _outputs(signature(examples=tf.constant(examples))) if examples else iter(())
        for path, data in zip(batch, read, strict=True):
            yield Row(path, error=data) if isinstance(data, str) else Row(path, *next(outputs))


def _batches(items: Iterable[Path], size: int) -> Iterator[list[Path]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _read(path: Path, rules: ReadingRules) -> bytes | str:
    """The image as ingestion would store it, or why it can't be read."""
    try:
        reader.check_bytes(path.stat().st_size, rules.max_pixels)
        data = path.read_bytes()
        return reader.read_image(data, max_pixels=rules.max_pixels, max_side=rules.max_side).data
    except (reader.RefusedImageError, OSError) as error:
        return str(error)


def _example(data: bytes) -> bytes:
    """A stored image as the model is given those of a split."""
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature[names.IMAGE].bytes_list.value.append(data)
    return example.SerializeToString()


def _outputs(tensors: Mapping[str, Any]) -> Iterator[tuple[float, bool]]:
    probabilities = tensors[names.PROBABILITY].numpy()[:, 0]
    positive = tensors[names.IS_POSITIVE].numpy()[:, 0]
    for probability, is_positive in zip(probabilities, positive, strict=True):
        yield float(probability), bool(is_positive)


def print_json(rows: Iterable[Row]) -> int:
    """Prints a JSON line an image.

    Returns:
      How many images could not be read.
    """
    unread = 0
    for row in rows:
        unread += row.error is not None
        fields = {name: value for name, value in asdict(row).items() if value is not None}
        print(json.dumps(fields, default=str), flush=True)
    return unread


def print_table(rows: Iterable[Row]) -> int:
    """Prints the images as a table, the most probable first.

    Returns:
      How many images could not be read.
    """
    known = sorted(rows, key=lambda row: -(row.probability or 0.0))
    table = Table("image", Column("probability", justify="right"), "positive")
    for row in known:
        if row.error is None:
            verdict = "yes" if row.is_positive else "no"
            table.add_row(plain(row.path), f"{row.probability:.4f}", verdict)
        else:
            table.add_row(plain(row.path), "–", plain(row.error, "red"))
    Console().print(table)
    return sum(row.error is not None for row in known)
