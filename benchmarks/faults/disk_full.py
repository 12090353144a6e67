"""A disk full after a part of what a run writes: examples, checkpoints, models, metadata."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.faults.cases import FINISHED, Bench, Case, Verdict, unclear
from benchmarks.faults.disks import Disk, can_mount, disk
from benchmarks.faults.runner import Process

_SIZES = 10
_PAGE = 4096


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields ten sizes from next to nothing to almost all that a run needs."""
    if not can_mount(bench.run.output):
        return
    used = _used(bench.run.saved)
    for number in range(_SIZES):
        size = max(_PAGE, round(used * (number + random.random()) / _SIZES))
        name = f"{size // 1024} of {used // 1024} KiB"
        yield Case("disk_full", name, partial(_full_once, size))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: a disk that is full, is enlarged and is full again, ten times."""
    if not can_mount(bench.run.output):
        return
    used = _used(bench.run.saved)
    sizes = [max(_PAGE, round(used * number / _SIZES)) for number in range(_SIZES)]
    yield Case("disk_full", "one disk enlarged", partial(_full_in_a_row, sizes), _SIZES)


def _full_once(size: int, bench: Bench) -> Verdict:
    with disk(bench.run.output, f"{size}") as small:
        process, problems = _run(bench, small)
        if problems:
            return Verdict(False, "; ".join(problems))
        small.enlarge()
        return bench.next_run(bench.run, earlier=[process], place=small.place)


def _full_in_a_row(sizes: list[int], bench: Bench) -> Verdict:
    processes, problems = [], []
    with disk(bench.run.output, f"{sizes[0]}") as small:
        for size in sizes:
            small.change(f"mount -o remount,size={size} {small.folder}")
            process, found = _run(bench, small)
            processes.append(process)
            problems += found
        small.enlarge()
        verdict = bench.next_run(bench.run, earlier=processes, place=small.place)
    return Verdict(False, "; ".join(problems)) if problems else verdict


def _run(bench: Bench, small: Disk) -> tuple[Process, list[str]]:
    """Runs on a disk that may be too small; returns what is wrong with its words."""
    process = bench.runner.start(bench.run.argv(), prepare=small.place.prepare)
    outcome = process.wait(600)
    if outcome.code in FINISHED:
        return process, []
    return process, list(unclear(outcome, [bench.run.output, "free some"]))


def _used(folder: Path) -> int:
    """Returns the size of a folder's files in bytes, in whole pages."""
    sizes = [path.lstat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(-(-size // _PAGE) * _PAGE for size in sizes)
