"""Images that are added, removed, changed and renamed between runs."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from PIL import Image, ImageOps

from benchmarks.faults import baseline, results
from benchmarks.faults.baseline import Baseline
from benchmarks.faults.cases import Bench, Case, Verdict

KIND = "images"

_SHARE = 0.1
# The next run's model is another one, and its data is checked against the first run's schema.
_EXPECTED = (results.VERSIONS, "schema")


def add(photos: Path, random: Random) -> None:
    """Adds mirrored images."""
    for path in _some(photos, random):
        with Image.open(path) as image:
            ImageOps.mirror(image).save(path.with_stem(f"{path.stem}-mirrored"))


def remove(photos: Path, random: Random) -> None:
    """Removes images."""
    for path in _some(photos, random):
        path.unlink()


def change(photos: Path, random: Random) -> None:
    """Replaces images by mirrored ones of the same name."""
    for path in _some(photos, random):
        with Image.open(path) as image:
            mirrored = ImageOps.mirror(image)
        mirrored.save(path)


def rename(photos: Path, random: Random) -> None:
    """Renames images."""
    for path in _some(photos, random):
        path.rename(path.with_stem(f"renamed-{path.stem}"))


def move(photos: Path, random: Random) -> None:
    """Moves images of one class to the other."""
    first, second = sorted(path for path in photos.iterdir() if path.is_dir())
    for path in _some(photos, random):
        other = second if path.parent == first else first
        path.rename(other / f"moved-{path.name}")


CHANGES: tuple[Callable[[Path, Random], None], ...] = (add, remove, change, rename, move)


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields all changes at once, then each alone, over other images each time."""
    photos = bench.folder / "photos"
    if not photos.exists():
        _write_photos(bench.sample, photos)
    settings = baseline.write_run(bench.folder / "images", photos, data=_data(photos))
    undisturbed = bench.undisturbed("run", settings, "images")
    for turn in count():
        for changes in ([CHANGES] if turn == 0 else []) + [(each,) for each in CHANGES]:
            title = " and ".join(each.__name__ for each in changes)
            seed = random.getrandbits(32)
            inject = partial(_inject, undisturbed, photos, changes, seed)
            yield Case(KIND, f"{title}, {turn + 1}", inject)


def _some(photos: Path, random: Random) -> list[Path]:
    paths = sorted(path for path in photos.glob("*/*") if path.is_file())
    return random.sample(paths, round(_SHARE * len(paths)))


def _write_photos(sample: Path, photos: Path) -> None:
    """Copies the images of the sample into a folder per class."""
    for name in ("cats", "dogs"):
        shutil.copytree(sample / "photos" / name, photos / name)


def _data(photos: Path) -> dict[str, object]:
    return {"source": str(photos), "positive_class": "dogs"}


def _inject(
    undisturbed: Baseline,
    photos: Path,
    changes: tuple[Callable[[Path, Random], None], ...],
    seed: int,
    bench: Bench,
) -> Verdict:
    original = photos.with_name("photos-original")
    if not original.exists():
        shutil.copytree(photos, original)
    try:
        for change_some in changes:
            change_some(photos, Random(seed))
        undisturbed.clear()
        fresh = bench.runner.run(undisturbed.argv())
        if fresh.code:
            return Verdict(False, f"a fresh run on the changed images failed: {fresh.err[-600:]}")
        expected = dataclasses.replace(
            undisturbed, result=results.read(undisturbed.output), may_differ=_EXPECTED
        )
        undisturbed.restore()
        return bench.next_run(expected)
    finally:
        shutil.rmtree(photos)
        shutil.copytree(original, photos)
