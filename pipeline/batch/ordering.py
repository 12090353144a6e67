"""Sorts more images than fit in memory, by sorted files that are merged."""

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from components.image_example_gen.files import FoundFile
from pipeline.batch.listing import Position, identity
from pipeline.predict import batches

Listed = tuple[Position, FoundFile]
Key = Callable[[Listed], Any]

IN_MEMORY = 100_000
"""Images that are in memory at a time."""
OPEN_FILES = 200
"""Files that are open at a time; of a process, systems allow about 1,000."""


def in_order(
    images: Iterable[Listed], folder: Path, *, in_memory: int = IN_MEMORY
) -> Iterator[FoundFile]:
    """Yields each image once, at its first position in the listing, however its path is written.

    Args:
      images: in any order.
      folder: for temporary files.
      in_memory: images that are in memory at a time.
    """

    def path_of(item: Listed) -> str:
        return identity(item[1].path)

    by_path = sorted_on_disk(
        images, lambda item: (path_of(item), item[0]), folder / "by-path", in_memory=in_memory
    )
    unique = (next(same) for _, same in itertools.groupby(by_path, key=path_of))
    for _, found in sorted_on_disk(
        unique, lambda item: item[0], folder / "by-position", in_memory=in_memory
    ):
        yield found


def sorted_on_disk(
    items: Iterable[Listed],
    key: Key,
    folder: Path,
    *,
    in_memory: int = IN_MEMORY,
    open_files: int = OPEN_FILES,
) -> Iterator[Listed]:
    """Yields the items in order; those with equal keys in the order of `items`.

    Args:
      items: images with their positions.
      key: by which they are compared.
      folder: an empty or new folder for the temporary files.
      in_memory: items that are in memory at a time.
      open_files: files that are open at a time, at least 2.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / str(number) for number in itertools.count())
    runs = [_written(sorted(batch, key=key), next(paths)) for batch in batches(items, in_memory)]
    while len(runs) > open_files:
        runs = [_merged(group, key, next(paths)) for group in batches(runs, open_files)]
    yield from heapq.merge(*map(_read, runs), key=key)


def _merged(runs: Sequence[Path], key: Key, path: Path) -> Path:
    _written(heapq.merge(*map(_read, runs), key=key), path)
    for run in runs:
        run.unlink()
    return path


def _written(items: Iterable[Listed], path: Path) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(item)}\n" for item in items)
    return path


def _read(path: Path) -> Iterator[Listed]:
    with path.open(encoding="utf-8") as lines:
        for (source, within), found in map(json.loads, lines):
            yield Position(source, tuple(within)), FoundFile(*found)
