"""Makes the sample data set: draws its photographs in parallel and writes their manifest.

A picture is a function of the random state, its class and its number in the class
alone. So any number of workers draws the same bytes, and a larger data set with the same
random state holds every picture of a smaller one.
"""

from __future__ import annotations

import csv
import json
import os
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipeline.sample.breeds import BREEDS, CATS, DOGS, Breed
from pipeline.sample.parallel import run_batches
from pipeline.sample.scene import DAY, NIGHT, NIGHT_SHARE, draw_scene
from pipeline.sample.whole_folder import whole_folder

MANIFEST = "manifest.csv"
COLUMNS = ("uri", "label", "breed", "lighting")
"""The manifest's columns; a uri is relative to the manifest's folder."""
SLICES = ("breed", "lighting")

DEFAULT_IMAGES = 3300
DEFAULT_SIDE = 128
DEFAULT_PREVALENCE = (10, 1)
"""Cats to dogs."""

_PHOTOS = "photos"
_RECORD = "sample.json"
_FORMAT = 1
"""Grows whenever the same parameters would give other bytes."""

_SMALLEST_SIDE, _LARGEST_SIDE = 32, 1024
_BATCH = 32
_JPEG_QUALITY = 90

# Multiples of the golden ratio, and those of the root of 2, modulo 1, fill the unit interval
# evenly: breeds and lightings meet their shares as closely as whole pictures allow.
_BREED_STEP, _LIGHTING_STEP = (5**0.5 - 1) / 2, 2**0.5 - 1


@dataclass(frozen=True)
class _Sample:
    """What decides a sample data set, byte for byte."""

    images: int
    prevalence: tuple[int, int]
    random_state: int
    side: int

    def __post_init__(self) -> None:
        _check_range("images", self.images, 2)
        _check_range("random_state", self.random_state, 0)
        _check_range("side", self.side, _SMALLEST_SIDE, _LARGEST_SIDE)
        if len(self.prevalence) != 2:
            raise ValueError(
                f"prevalence takes two weights, cats and dogs; found {self.prevalence}"
            )
        for weight in self.prevalence:
            _check_range("each weight of prevalence", weight, 1)
        if 0 in self.counts.values():
            enough = -(-sum(self.prevalence) // min(self.prevalence))
            raise ValueError(
                f"images={self.images} at {self.prevalence[0]}:{self.prevalence[1]} gives "
                f"{self.counts}; ask for at least {enough}, so that each class has one"
            )

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class, rounded to the nearest whole."""
        cats, total = self.prevalence[0], sum(self.prevalence)
        rounded = (2 * self.images * cats + total) // (2 * total)
        return {CATS: rounded, DOGS: self.images - rounded}

    @property
    def record(self) -> dict[str, object]:
        """What `sample.json` says of the data set."""
        return {"format": _FORMAT, **asdict(self), "prevalence": list(self.prevalence)}


@dataclass(frozen=True)
class _Picture:
    """One picture of the data set: `number` counts within the class."""

    label: str
    number: int
    random_state: int

    @property
    def uri(self) -> str:
        return f"{_PHOTOS}/{self.label}/{self.label}-{self.number:06}.jpg"

    @property
    def breed(self) -> Breed:
        breeds = BREEDS[self.label]
        edges = list(accumulate(breed.share for breed in breeds[:-1]))
        return breeds[bisect(edges, self._position(_BREED_STEP))]

    @property
    def lighting(self) -> str:
        return NIGHT if self._position(_LIGHTING_STEP) < NIGHT_SHARE else DAY

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The picture's line in the manifest."""
        return self.uri, self.label, self.breed.name, self.lighting

    def _position(self, step: float) -> float:
        return (0.5 + (self.random_state + self.number) * step) % 1.0

    def draw(self, folder: Path, side: int) -> None:
        """Draws the picture and saves it at its place below `folder`."""
        rng = np.random.default_rng((self.random_state, self.label == DOGS, self.number))
        scene = draw_scene(self.breed, self.lighting, side, rng)
        scene.save(folder / self.uri, quality=_JPEG_QUALITY)


def make_sample(
    folder: Path,
    *,
    images: int = DEFAULT_IMAGES,
    prevalence: tuple[int, int] = DEFAULT_PREVALENCE,
    random_state: int = 0,
    workers: int | None = None,
    side: int = DEFAULT_SIDE,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws a data set of cats and dogs into `folder`, or finds it drawn already.

    The folder gets `manifest.csv`, the photographs under `photos/cats` and `photos/dogs`, and
    `sample.json`, which holds these parameters. It appears whole or not at all.

    With more than one worker, processes are spawned: a script of your own must make its call
    under `if __name__ == "__main__":`.

    Args:
        folder: Where to put it. An existing folder is used as it is if it holds this very data
            set, filled if it is empty, and never written to otherwise.
        images: How many photographs to draw.
        prevalence: Weights of cats and dogs; the counts keep to it exactly, rounded.
        random_state: Seed, 0 or greater.
        workers: Processes that draw; one for each core by default. It changes no byte.
        side: Width and height of a photograph in pixels, 32 to 1024.
        progress: Called now and then with the number drawn and the number to draw.

    Returns:
        The manifest's path.

    Raises:
        ValueError: If a parameter is out of range, or a class would be without an image.
        FileExistsError: If something else lies at `folder`.
    """
    sample = _Sample(images, prevalence, random_state, side)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    _check_range("workers", workers, 1)
    folder = Path(folder).resolve()
    if not _is_drawn(folder, sample):
        with whole_folder(folder) as unfinished:
            _draw(unfinished, sample, workers, progress or (lambda done, total: None))
    return folder / MANIFEST


def _check_range(name: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, int) and value >= low and (high is None or value <= high):
        return
    allowed = f"{low} or more" if high is None else f"from {low} to {high}"
    raise ValueError(f"{name} must be a whole number, {allowed}; found {value!r}")


def _is_drawn(folder: Path, sample: _Sample) -> bool:
    """Returns whether `folder` holds the sample; raises if it holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_record(folder)
    differing = [
        f"{key}={found.get(key)} where {key}={value} is asked for"
        for key, value in sample.record.items()
        if found.get(key) != value
    ]
    if differing:
        raise FileExistsError(
            f"{folder} holds another sample data set ({', '.join(differing)}); "
            "choose another folder, or remove this one"
        )
    _check_complete(folder, sample)
    return True


def _read_record(folder: Path) -> dict[str, object]:
    try:
        record = json.loads((folder / _RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise FileExistsError(
            f"{folder} exists and is not a sample data set (it has no readable {_RECORD}); "
            "choose another folder"
        )
    return record


def _check_complete(folder: Path, sample: _Sample) -> None:
    found = sum(1 for _ in (folder / _PHOTOS).glob("*/*.jpg"))
    if found != sample.images or not (folder / MANIFEST).is_file():
        raise FileExistsError(
            f"{folder} is a sample data set of {sample.images} photographs that has lost files: "
            f"{found} photographs are left; remove it to have it drawn again"
        )


def _draw(
    folder: Path, sample: _Sample, workers: int, progress: Callable[[int, int], None]
) -> None:
    """Draws the whole data set into an empty folder."""
    for label in sample.counts:
        (folder / _PHOTOS / label).mkdir(parents=True)
    pictures = list(_pictures(sample))
    _write_manifest(folder / MANIFEST, pictures)
    batches = [
        (folder, sample.side, pictures[start : start + _BATCH])
        for start in range(0, len(pictures), _BATCH)
    ]
    done = 0
    for drawn in run_batches(_draw_batch, batches, workers):
        done += drawn
        progress(done, sample.images)
    (folder / _RECORD).write_text(json.dumps(sample.record, indent=2) + "\n", "utf-8")


def _pictures(sample: _Sample) -> Iterator[_Picture]:
    for label, count in sample.counts.items():
        for number in range(count):
            yield _Picture(label, number, sample.random_state)


def _write_manifest(path: Path, pictures: list[_Picture]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(picture.row for picture in pictures)


def _draw_batch(batch: tuple[Path, int, list[_Picture]]) -> int:
    """Draws a batch of pictures, in a worker, and returns how many."""
    folder, side, pictures = batch
    for picture in pictures:
        picture.draw(folder, side)
    return len(pictures)
