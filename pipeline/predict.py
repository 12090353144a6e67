"""Predictions of a pushed model for images on disk, read in the same way as in a run."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rich.console import Console
from rich.table import Column, Table

from components import artifact_files, names
from components.image_example_gen import files
from components.images import isolated, reader
from components.images.rules import ReadingRules, read_rules
from components.images.signature import HEAD_BYTES, begins_like_an_image
from pipeline.console import without_messages_of_libraries
from pipeline.terminal import plain

if TYPE_CHECKING:
    from components.saved_model import ServedModel

Item = TypeVar("Item")

BATCH_SIZE = 32
NOT_IMAGES = "files that are not images"
IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Suffixes by which a file is treated as an image, whether or not it can be read."""


class PredictError(ValueError):
    """Images or a model that do not exist; the message says what to give instead."""


@dataclass(frozen=True)
class Row:
    """Prediction for one image.

    Attributes:
      path: path of the image.
      probability: probability in [0, 1] of the positive class; None if it can't be read.
      score: the trained model's own output in [0, 1]; None if it can't be read, or for a model
        of an earlier version, which has no other output than the probability.
      is_positive: whether the probability reaches the threshold; None if it can't be read.
      needs_review: whether a person should decide; None if it can't be read, or the model does
        not say.
      error: why the image can't be read; None if it can.
    """

    path: Path
    probability: float | None = None
    score: float | None = None
    is_positive: bool | None = None
    needs_review: bool | None = None
    error: str | None = None


class Outputs(NamedTuple):
    """The outputs for one image; see the attributes of `Row`."""

    probability: float | None = None
    score: float | None = None
    is_positive: bool | None = None
    needs_review: bool | None = None
    error: str | None = None


_KINDS: dict[str, Callable[[Any], Any]] = {
    names.PROBABILITY: float,
    names.SCORE: float,
    names.IS_POSITIVE: bool,
    names.NEEDS_REVIEW: bool,
}


def find_images(paths: Iterable[Path], passed_over: Counter[str] | None = None) -> list[Path]:
    """Returns the given files, and the images in the given folders, at any depth, sorted.

    A given file always counts as an image. In a folder an image is recognized by its first bytes
    or its suffix, and leftovers of operating and storage systems are passed over as in
    ingestion.

    Args:
      paths: files and folders.
      passed_over: filled with the number of files and folders left out, by kind.

    Raises:
      PredictError: a path does not exist, or a folder contains no images.
    """
    counted = Counter() if passed_over is None else passed_over
    return list(itertools.chain.from_iterable(_images_at(path, counted) for path in paths))


def _images_at(path: Path, passed_over: Counter[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise PredictError(
            f"PATH does not exist; give an image, or a folder of images. Received: {path}"
        )
    try:
        found = sorted(Path(file.path) for file in files.walk(str(path), passed_over))
    except OSError as error:
        raise PredictError(f"cannot list the images in {path}: {error}") from error
    images = [file for file in found if is_meant_as_image(file)]
    if len(images) < len(found):
        passed_over[NOT_IMAGES] += len(found) - len(images)
    if not images:
        note = f" ({files.passed_over_text(passed_over)})" if passed_over else ""
        raise PredictError(
            f"no images found{note}; give an image, or a folder of images. Received: {path}"
        )
    return images


def is_meant_as_image(path: Path) -> bool:
    """Returns whether a file in a folder is an image, by its suffix or its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        # Unbuffered, not to read more than the first bytes from a slow disk.
        with open(path, "rb", buffering=0) as file:
            return begins_like_an_image(file.read(HEAD_BYTES))
    except OSError:  # to be reported with the reason
        return True


def predict(model: Path, images: Iterable[Path]) -> Iterator[Row]:
    """Returns the predictions for images, in order, computed in batches.

    The files of the model are checked, unless it is of a release that listed none.

    Args:
      model: folder of a SavedModel that the Calibrator wrote.
      images: files; one that can't be read gives a row with its error.

    Raises:
      PredictError: the model is damaged.
      RulesError: the model does not record how images are read.
    """
    check_files(model)
    rules = read_rules(model)
    return _predictions(_load(model), rules, images)


def check_files(model: Path) -> None:
    """Checks the files of a model, unless it is of a release that listed none.

    Raises:
      PredictError: the model is damaged.
    """
    if artifact_files.has_list(str(model)):
        try:
            artifact_files.check(str(model))
        except artifact_files.DamagedArtifactError as error:
            raise _damaged(model, error.problem) from error


def _load(model: Path) -> "ServedModel":
    try:
        with without_messages_of_libraries():
            from components.saved_model import ServedModel

            return ServedModel(str(model))
    except Exception as error:  # of many classes, for a damaged model without a list of files
        raise _damaged(model, str(error)) from error


def _damaged(model: Path, problem: str) -> PredictError:
    return PredictError(
        f"{model} is damaged: {problem}. Give another version with --model, or repeat the run that "
        "pushed it, which pushes it again"
    )


def _predictions(
    model: "ServedModel", rules: ReadingRules, images: Iterable[Path]
) -> Iterator[Row]:
    for batch in batches(images, BATCH_SIZE):
        read = [_read(path, rules) for path in batch]
        for path, outputs in zip(
            batch, outputs_of(model, read, list(map(str, batch))), strict=True
        ):
            yield Row(path, **outputs._asdict())


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields the items in lists of `size`; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _read(path: Path, rules: ReadingRules) -> bytes | str:
    """Returns the image as ingestion would store it, or why it can't be read."""
    try:
        reader.check_bytes(path.stat().st_size, rules.max_pixels)
        data = path.read_bytes()
        return isolated.read_image(data, max_pixels=rules.max_pixels, max_side=rules.max_side).data
    except (reader.RefusedImageError, OSError) as error:
        return str(error)


def outputs_of(
    model: "ServedModel", read: Sequence[bytes | str], images: Sequence[str]
) -> Iterator[Outputs]:
    """Yields the outputs for a batch of images.

    Args:
      model: the loaded model.
      read: each image as ingestion stores it, or why it can't be read.
      images: the name of each, for messages.

    Raises:
      ValueError: a probability is not finite.
    """
    from components.saved_model import check_finite

    stored = [data for data in read if isinstance(data, bytes)]
    columns = model.predict_stored(stored) if stored else {}
    if stored:
        known = [name for name, data in zip(images, read, strict=True) if isinstance(data, bytes)]
        check_finite(columns[names.PROBABILITY], known)
    values = iter(range(len(stored)))
    for data in read:
        if isinstance(data, str):
            yield Outputs(error=data)
        else:
            index = next(values)
            yield Outputs(
                **{
                    name: _KINDS[name](columns[name][index])
                    for name in _KINDS
                    if name in model.outputs
                }
            )


def print_json(rows: Iterable[Row]) -> int:
    """Prints one JSON line per image.

    Returns:
      The number of images that could not be read.
    """
    unread = 0
    for row in rows:
        unread += row.error is not None
        fields = {name: value for name, value in asdict(row).items() if value is not None}
        print(json.dumps(fields, default=str), flush=True)
    return unread


def _verdict(row: Row) -> str:
    verdict = "yes" if row.is_positive else "no"
    return f"{verdict}, to be reviewed" if row.needs_review else verdict


def print_table(rows: Iterable[Row]) -> int:
    """Prints the images as a table, by decreasing probability.

    Returns:
      The number of images that could not be read.
    """
    ordered = sorted(rows, key=lambda row: -(row.probability or 0.0))
    table = Table("image", Column("probability", justify="right"), "positive")
    for row in ordered:
        if row.error is None:
            table.add_row(plain(row.path), f"{row.probability:.4f}", _verdict(row))
        else:
            table.add_row(plain(row.path), "–", plain(row.error, "red"))
    Console().print(table)
    return sum(row.error is not None for row in ordered)
