"""SIGTERM at random points of each part of a run and a study, of predict, and of a step's pod."""

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from random import Random

from benchmarks.faults import pods, snapshots
from benchmarks.faults.cases import FINISHED, Bench, Case, Verdict, left_behind
from benchmarks.faults.runner import Outcome, Process
from benchmarks.faults.snapshots import Point
from components.stop_signals import GRACE_SECONDS

_TERMINATED = 143
_WORDS = "terminated by SIGTERM"
# To print the message after the grace period of the process itself.
_MORE_SECONDS = 5


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields `predict`, a step's pod, and all parts at points drawn over each one's duration."""
    yield Case("sigterm", "predict", partial(_predict, random.random()))
    yield Case("sigterm", "a step's pod", _step)
    for _ in count():
        for undisturbed in (bench.run, bench.study):
            for part in snapshots.parts(undisturbed):
                point = Point(undisturbed, part, random.random())
                yield Case("sigterm", str(point), partial(_terminate_and_run_again, point))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: SIGTERM in each part of one run, which goes on after each."""
    points = [Point(bench.run, part, random.random()) for part in snapshots.parts(bench.run)]
    yield Case("sigterm", "all parts of a run", partial(_terminate_in_a_row, points), len(points))


def _terminate_and_run_again(point: Point, bench: Bench) -> Verdict:
    snapshots.restore(bench, point.undisturbed, point.part)
    problems = terminate(bench, point)
    return _verdict(problems, bench.next_run(point.undisturbed))


def _terminate_in_a_row(points: list[Point], bench: Bench) -> Verdict:
    bench.run.clear()
    problems = [f"{point}: {found}" for point in points for found in terminate(bench, point)]
    return _verdict(problems, bench.next_run(bench.run))


def _verdict(problems: list[str], after: Verdict) -> Verdict:
    return Verdict(False, "; ".join(problems), after.lost) if problems else after


def terminate(bench: Bench, point: Point) -> list[str]:
    """Ends a run at a point; returns what is wrong with how it ended."""
    process = bench.runner.start(point.undisturbed.argv())
    point.reach(process)
    outcome = _terminated(process)
    if outcome.code in FINISHED and _came_late(point, outcome):
        return []
    return problems_of_end(process, outcome)


def _came_late(point: Point, outcome: Outcome) -> bool:
    """Returns whether a run had nothing left to do when the signal came."""
    last = list(point.undisturbed.seconds)[-1]
    return point.part == snapshots.END or f"{last}: done" in outcome.err


def problems_of_end(process: Process, outcome: Outcome) -> list[str]:
    """Returns what is wrong with how a command that was terminated has ended."""
    return [*_problems(outcome, _WORDS), *_json_problems(outcome), *left_behind(process)]


def _terminated(process: Process) -> Outcome:
    process.send(signal.SIGTERM)
    return process.wait(GRACE_SECONDS + _MORE_SECONDS)


def _problems(outcome: Outcome, words: str) -> Iterator[str]:
    if outcome.code != _TERMINATED:
        yield f"exit code {outcome.code}: {outcome.err[-300:]}"
    if words not in outcome.err:
        yield f"no message: {outcome.err[-300:]}"
    if "Traceback" in outcome.text:
        yield f"a traceback: {outcome.text[-300:]}"


def _json_problems(outcome: Outcome) -> Iterator[str]:
    try:
        status = json.loads(outcome.out)["status"]
    except ValueError:
        status = outcome.out
    if status != "interrupted":
        yield f"standard output is {status!r}"


def _predict(share: float, bench: Bench) -> Verdict:
    bench.run.restore()
    argv = ["predict", bench.sample, "--model", bench.run.output / "registry", "--json"]
    begun = time.monotonic()
    expected = bench.runner.run(argv)
    seconds = time.monotonic() - begun
    process = bench.runner.start(argv)
    time.sleep(share * seconds / 2)
    problems = [*_problems(_terminated(process), _WORDS), *left_behind(process)]
    again = bench.runner.run(argv)
    if (again.code, again.out) != (expected.code, expected.out):
        return Verdict(False, "the next predictions differ", lost=True)
    return _verdict(problems, Verdict(True, "the next predictions were equal"))


def _step(bench: Bench) -> Verdict:
    bench.run.restore()
    pod = pods.training(bench.run, bench.folder / "pod")
    process = pod.start(bench.runner)
    process.wait_for_file(pod.folder, "checkpoints/*/state.npz")
    # Its temporary files go with the pod.
    problems = list(_problems(_terminated(process), "SIGTERM was received"))
    again = pod.start(bench.runner).wait(600)
    if again.code:
        problems.append(f"the retried step ended with {again.code}: {again.err[-300:]}")
    elif "resuming after epoch" not in again.err:
        problems.append("the retried step did not resume")
    elif not pod.is_equal():
        return Verdict(False, "the retried step trained another model", lost=True)
    return _verdict(problems, Verdict(True, "the retried step trained the same model"))
