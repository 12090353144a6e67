"""Makes the sample data set: draws its pictures in parallel and writes their manifest.

A picture depends only on the random state, its class and its number within the class. So the
bytes don't depend on the number of workers, and a larger data set with the same random state
contains every picture of a smaller one.
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
"""The columns of the manifest; a uri is relative to its folder."""
SLICES = ("breed", "lighting")

DEFAULT_IMAGES = 3300
DEFAULT_SIDE = 128
DEFAULT_PREVALENCE = (10, 1)
"""Cats to dogs."""

_PHOTOS = "photos"
_RECORD = "sample.json"
_FORMAT = 1
"""Increased when the same parameters give other bytes."""

_SMALLEST_SIDE, _LARGEST_SIDE = 32, 1024
_BATCH = 32
_JPEG_QUALITY = 90

# Multiples of the golden ratio, and of the square root of 2, modulo 1 fill the unit interval
# evenly: the shares of breeds and lightings are as exact as whole pictures allow.
_BREED_STEP, _LIGHTING_STEP = (5**0.5 - 1) / 2, 2**0.5 - 1


@dataclass(frozen=True)
class _Sample:
    """The parameters that determine every byte of a sample data set."""

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
                f"prevalence must be two weights, cats and dogs. Received: {self.prevalence}"
            )
        for weight in self.prevalence:
            _check_range("each weight of prevalence", weight, 1)
        if 0 in self.counts.values():
            enough = -(-sum(self.prevalence) // min(self.prevalence))
            raise ValueError(
                f"images must be at least {enough} at a prevalence of {self.prevalence[0]}:"
                f"{self.prevalence[1]}, so that no class is empty. Received: {self.images}, which "
                f"gives {self.counts}"
            )

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class, rounded."""
        cats, total = self.prevalence[0], sum(self.prevalence)
        rounded = (2 * self.images * cats + total) // (2 * total)
        return {CATS: rounded, DOGS: self.images - rounded}

    @property
    def record(self) -> dict[str, object]:
        """The content of `sample.json`."""
        return {"format": _FORMAT, **asdict(self), "prevalence": list(self.prevalence)}


@dataclass(frozen=True)
class _Picture:
    """One picture; `number` counts within the class."""

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
        """The picture's row in the manifest."""
        return self.uri, self.label, self.breed.name, self.lighting

    def _position(self, step: float) -> float:
        return (0.5 + (self.random_state + self.number) * step) % 1.0

    def draw(self, folder: Path, side: int) -> None:
        """Draws the picture and saves it below `folder`."""
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
    """Draws a data set of cats and dogs into `folder`, unless the folder already contains it.

    The folder gets `manifest.csv`, the pictures in `photos/cats` and `photos/dogs`, and
    `sample.json` with these parameters. It is created atomically.

    With more than one worker, processes are spawned: a script must call this function under
    `if __name__ == "__main__":`.

    Args:
        folder: Output folder. An existing folder is kept as it is if it contains the same data
            set, filled if it is empty, and never written to otherwise.
        images: Number of pictures.
        prevalence: Weights of cats and dogs; the counts follow it exactly, rounded.
        random_state: Seed, 0 or greater.
        workers: Number of processes; one per core by default. It has no effect on the bytes.
        side: Width and height of a picture in pixels, 32 to 1024.
        progress: Called repeatedly with the number of pictures drawn and the total.

    Returns:
        The manifest's path.

    Raises:
        ValueError: If a parameter is out of range, or a class would be empty.
        FileExistsError: If `folder` exists with other content.
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
    raise ValueError(f"{name} must be a whole number, {allowed}. Received: {value!r}")


def _is_drawn(folder: Path, sample: _Sample) -> bool:
    """Returns whether `folder` contains the sample; raises if it contains anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    found = _read_record(folder)
    differing = [
        f"{key}={found.get(key)}, requested {key}={value}"
        for key, value in sample.record.items()
        if found.get(key) != value
    ]
    if differing:
        raise FileExistsError(
            f"{folder} contains another sample data set ({'; '.join(differing)}); "
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
            f"{folder} already exists and is not a sample data set (it has no valid {_RECORD}); "
            "choose another folder"
        )
    return record


def _check_complete(folder: Path, sample: _Sample) -> None:
    found = sum(1 for _ in (folder / _PHOTOS).glob("*/*.jpg"))
    if found != sample.images or not (folder / MANIFEST).is_file():
        raise FileExistsError(
            f"{folder} is an incomplete sample data set: it must have {sample.images} pictures "
            f"and {MANIFEST}; remove it to draw it again. Received: {found} pictures"
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
    """Draws a batch of pictures in a worker and returns their number."""
    folder, side, pictures = batch
    for picture in pictures:
        picture.draw(folder, side)
    return len(pictures)
