"""SIGKILL at random points of each component of a run and of a study."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from random import Random

from benchmarks.faults.baseline import Baseline
from benchmarks.faults.cases import Bench, Case, Verdict


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields kills of all components in turn, at points drawn over each one's duration."""
    for _ in count():
        for undisturbed in (bench.run, bench.study):
            for component in undisturbed.seconds:
                share = random.random()
                name = f"{undisturbed.command}, {component} at {share:.0%}"
                yield Case("kill", name, partial(_kill, undisturbed, component, share))


def _kill(undisturbed: Baseline, component: str, share: float, bench: Bench) -> Verdict:
    undisturbed.clear()
    process = bench.runner.start(undisturbed.argv())
    process.wait_for(f"{component}: running")
    time.sleep(share * undisturbed.seconds[component])
    process.kill()
    process.wait(30)
    process.left_running()
    return bench.next_run(undisturbed)
