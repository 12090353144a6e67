"""SIGKILL at random points of each part of a run and of a study."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from random import Random

from benchmarks.faults import snapshots
from benchmarks.faults.cases import Bench, Case, Verdict
from benchmarks.faults.runner import Process
from benchmarks.faults.snapshots import Point

_KILLED = -9


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields kills of all parts in turn, at points drawn over each one's duration."""
    for _ in count():
        for undisturbed in (bench.run, bench.study):
            for part in snapshots.parts(undisturbed):
                point = Point(undisturbed, part, random.random())
                yield Case("kill", str(point), partial(_kill_and_run_again, point))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: a kill in each part of one run, which goes on after each."""
    points = [Point(bench.run, part, random.random()) for part in snapshots.parts(bench.run)]
    yield Case("kill", "all parts of a run", partial(_kill_in_a_row, points), len(points))


def _kill_and_run_again(point: Point, bench: Bench) -> Verdict:
    snapshots.restore(bench, point.undisturbed, point.part)
    killed = _kill(bench, point)
    return bench.next_run(point.undisturbed, earlier=[killed])


def _kill_in_a_row(points: list[Point], bench: Bench) -> Verdict:
    bench.run.clear()
    killed = [_kill(bench, point) for point in points]
    return bench.next_run(bench.run, earlier=killed)


def _kill(bench: Bench, point: Point) -> Process:
    process = bench.runner.start(point.undisturbed.argv())
    process.wait_for(point.line)
    time.sleep(point.delay)
    process.kill()
    process.wait(30)
    return process
