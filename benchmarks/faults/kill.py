"""SIGKILL at random points of each part of a run and of a study."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random

from benchmarks.faults import snapshots
from benchmarks.faults.cases import Bench, Case, Verdict
from benchmarks.faults.runner import Process
from benchmarks.faults.snapshots import Point

_KILLED = -9
_IN_A_ROW = 3


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields three kills in a row of each part in turn, at points drawn over its duration."""
    for _ in count():
        for undisturbed in (bench.run, bench.study):
            for part in snapshots.parts(undisturbed):
                points = [Point(undisturbed, part, random.random()) for _ in range(_IN_A_ROW)]
                name = ", ".join([str(points[0]), *(f"{point.share:.0%}" for point in points[1:])])
                yield Case("kill", name, partial(_kill_one_part, points), _IN_A_ROW)


def _kill_one_part(points: list[Point], bench: Bench) -> Verdict:
    undisturbed, part = points[0].undisturbed, points[0].part
    snapshots.restore(bench, undisturbed, part)
    killed = [kill(bench, point) for point in points]
    return bench.next_run(undisturbed, earlier=killed)


def kill(bench: Bench, point: Point, prepare: Callable[[], object] = lambda: None) -> Process:
    """Kills a run at a point, or before it if the run was faster than the undisturbed one.

    Args:
      bench: starts the run.
      point: the point.
      prepare: called before each run.
    """
    prepare()
    process = bench.runner.start(point.undisturbed.argv())
    point.reach(process)
    process.kill()
    if process.wait(30).code == _KILLED:
        return process
    return kill(bench, replace(point, share=point.share / 2), prepare)
