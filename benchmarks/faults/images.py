"""Images that are added, removed, changed, renamed and moved to another class between runs."""

import csv
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from PIL import Image, ImageOps

from benchmarks.faults import results
from benchmarks.faults.baseline import Baseline
from benchmarks.faults.cases import Bench, Case, Verdict

_IMAGES = 20
# The next run pushes a second model, compares it with the first on the same images, and checks its
# data against the first run's schema.
_EXPECTED = (results.VERSIONS, "schema", "champion", "predictions")

# So that both runs push a model, however well it predicts.
_BLESSED = ("--set", 'evaluator.gates=["recall >= 0"]')

Change = Callable[[Path, Random], None]
"""Changes some of the images below a folder, which has a folder per class."""


def add(photos: Path, random: Random) -> None:
    """Adds mirrored images."""
    for path in _some(photos, "*", random):
        _mirror(path, path.with_stem(f"{path.stem}-mirrored"))


def remove(photos: Path, random: Random) -> None:
    """Removes images."""
    for path in _some(photos, "cats", random):  # the splits take all dogs
        path.unlink()


def change(photos: Path, random: Random) -> None:
    """Replaces images by mirrored ones of the same name."""
    for path in _some(photos, "*", random):
        _mirror(path, path)


def rename(photos: Path, random: Random) -> None:
    """Renames images."""
    for path in _some(photos, "*", random):
        path.rename(path.with_stem(f"renamed-{path.stem}"))


def move(photos: Path, random: Random) -> None:
    """Moves images to another class."""
    for path in _some(photos, "cats", random):
        path.rename(photos / "dogs" / path.name)


CHANGES: tuple[Change, ...] = (add, remove, change, rename, move)


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields all changes at once, then each alone, with other images each time."""
    yield from short(bench, random)
    for turn in count():
        for each in CHANGES:
            inject = partial(_inject, (each,), random.getrandbits(32))
            yield Case("images", f"{each.__name__}, {turn + 1}", inject)


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: all changes at once."""
    title = " and ".join(each.__name__ for each in CHANGES)
    inject = partial(_inject, CHANGES, random.getrandbits(32))
    yield Case("images", title, inject, faults=len(CHANGES))


def _some(photos: Path, class_name: str, random: Random) -> list[Path]:
    return random.sample(sorted(photos.glob(f"{class_name}/*.jpg")), _IMAGES)


def _mirror(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        mirrored = ImageOps.mirror(image)
    mirrored.save(target)


def _inject(changes: Sequence[Change], seed: int, bench: Bench) -> Verdict:
    undisturbed, original = bench.run, bench.folder / "sample-original"
    if not original.exists():
        shutil.copytree(bench.sample, original)
    try:
        for each in changes:
            each(bench.sample / "photos", Random(seed))
        _write_manifest(bench.sample)
        return _compare(undisturbed, bench)
    finally:
        shutil.rmtree(bench.sample)
        shutil.copytree(original, bench.sample)


def _compare(undisturbed: Baseline, bench: Bench) -> Verdict:
    """Compares a run after the undisturbed one with one that starts with the changed images."""
    undisturbed.clear()
    fresh = bench.runner.run(undisturbed.argv(*_BLESSED))
    if fresh.code:
        return Verdict(False, f"a first run with the changed images failed: {fresh.err[-600:]}")
    expected = dataclasses.replace(
        undisturbed, result=results.read(undisturbed.output), may_differ=_EXPECTED
    )
    undisturbed.restore()
    return bench.next_run(expected, *_BLESSED)


def _write_manifest(sample: Path) -> None:
    """Lists the images that there are now; those that were not listed have no breed."""
    manifest = sample / "manifest.csv"
    with manifest.open(newline="", encoding="utf-8") as file:
        known = {row["uri"]: row for row in csv.DictReader(file)}
    columns = next(iter(known.values())).keys()
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for path in sorted((sample / "photos").glob("*/*.jpg")):
            uri = path.relative_to(sample).as_posix()
            writer.writerow(known.get(uri, {"uri": uri, "label": path.parent.name}))
