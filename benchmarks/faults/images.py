"""Images that are added, removed, changed, renamed and moved between runs, also between spans."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from PIL import Image, ImageOps

from benchmarks.faults import results, spans
from benchmarks.faults.baseline import Baseline, copy
from benchmarks.faults.cases import Bench, Case, Verdict

_IMAGES = 20
# The next run pushes a second model, compares it with the first on the same images, and checks its
# data against the first run's schema. Spans stay kept as they were before the change.
_EXPECTED = (
    *(results.VERSIONS, results.POINTER, "schema", "champion", "predictions"),
    "made too much: spans/",
)

# So that both runs push a model, however well it predicts; and go on although an image that was
# mirrored twice, and moved once, is in two classes.
_OPTIONS = ("--set", 'evaluator.gates=["recall >= 0"]', "--set", "data.max_bad_fraction=0.1")

Change = Callable[[Path, Random], None]
"""Changes some of the images below a folder, which has a folder per span."""


def add(sample: Path, random: Random) -> None:
    """Adds mirrored images."""
    for path in _some(sample, random):
        _mirror(path, path.with_stem(f"{path.stem}-mirrored"))


def remove(sample: Path, random: Random) -> None:
    """Removes images."""
    for path in _some(sample, random):
        path.unlink()


def change(sample: Path, random: Random) -> None:
    """Replaces images by mirrored ones of the same name."""
    for path in _some(sample, random):
        _mirror(path, path)


def rename(sample: Path, random: Random) -> None:
    """Renames images."""
    for path in _some(sample, random):
        path.rename(path.with_stem(f"renamed-{path.stem}"))


def move(sample: Path, random: Random) -> None:
    """Moves images to another class."""
    for path in _some(sample, random, "cats/*"):
        path.rename(path.parents[1] / "dogs" / path.name)


def repeat(sample: Path, random: Random) -> None:
    """Adds copies of images to other spans."""
    for path in _some(sample, random):
        span = random.choice([name for name in spans.NAMES if name != path.parents[2].name])
        shutil.copy(path, sample / span / spans.PHOTOS / path.parent.name / f"copy-{path.name}")


def arrive(sample: Path, random: Random) -> None:
    """Adds a span."""
    copy(sample.with_name("later") / spans.NEXT, sample / spans.NEXT)


CHANGES: tuple[Change, ...] = (add, remove, change, rename, move, repeat, arrive)


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


def _some(sample: Path, random: Random, pattern: str = "*/*") -> list[Path]:
    return random.sample(spans.images(sample, pattern), _IMAGES)


def _mirror(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        mirrored = ImageOps.mirror(image)
    mirrored.save(target)


def _inject(changes: Sequence[Change], seed: int, bench: Bench) -> Verdict:
    undisturbed, original = bench.run, bench.folder / "sample-original"
    if not original.exists():
        copy(bench.sample, original)
    try:
        for each in changes:
            each(bench.sample, Random(seed))
        spans.update_manifests(bench.sample)
        return _compare(undisturbed, bench)
    finally:
        shutil.rmtree(bench.sample)
        copy(original, bench.sample)


def _compare(undisturbed: Baseline, bench: Bench) -> Verdict:
    """Compares a run after the undisturbed one with one that has only the ledger of that one."""
    undisturbed.clear()
    copy(undisturbed.saved / "ledgers", undisturbed.output / "ledgers")
    fresh = bench.runner.run(undisturbed.argv(*_OPTIONS))
    if fresh.code:
        return Verdict(False, f"a first run with the changed images failed: {fresh.err[-600:]}")
    expected = dataclasses.replace(
        undisturbed, result=results.read(undisturbed.output), may_differ=_EXPECTED
    )
    undisturbed.restore()
    return bench.next_run(expected, *_OPTIONS)
