"""SIGKILL and SIGTERM at drawn moments of `outnumbered retrain`, which is then repeated twice.

The first repetition must end as if nothing had happened: one version released for the data, the
pointer at it, one line in the history, a page that shows it, nothing left over. A retraining that
was killed or terminated adds no line itself. The second repetition must change nothing.
"""

import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from benchmarks.faults import kill, operations, sigterm, snapshots
from benchmarks.faults.cases import Bench, Case, Verdict
from benchmarks.faults.runner import Process
from benchmarks.faults.snapshots import END, START, Point

_KILLED = -9


@dataclass(frozen=True)
class Place:
    """Files of the output folder that a part of the run writes.

    Attributes:
      part: the part, see `snapshots`.
      pattern: of their paths in the output folder, also while they are being written.
    """

    part: str
    pattern: str


def _file(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return rf"{folder and folder + '/'}(\..*-)?{name}"


_PLACES: Mapping[str, Place] = {
    "the champion": Place(START, _file(r"tfx/champions\.json")),
    "the kept span": Place("ImageExampleGen", r"tfx/spans/.*"),
    "the ledger": Place("ImbalanceSampler", r"ledgers/.*\.ledger"),
    "the checkpoint": Place("Trainer", r"tfx/checkpoints/.*"),
    "the version": Place("Pusher", r"registry/(\.incoming-|\d).*"),
    "the pointer": Place("Pusher", _file(r"registry/registry\.json")),
    "the record of outputs": Place(END, _file(r"tfx/outputs\.json")),
    "latest": Place(END, _file("latest")),
    "the history": Place(END, _file(r"history\.jsonl")),
    "the page": Place(END, _file(r"history\.html")),
}


@dataclass(frozen=True)
class Moment:
    """The moment just before an operation on a file.

    Attributes:
      place: the files.
      share: position among the operations at the place, from 0 to below 1.
    """

    place: Place
    share: float

    def start(self, bench: Bench, how: signal.Signals) -> Process:
        """Starts a retraining that sends itself a signal at the moment."""
        undisturbed, pattern = bench.retrain, self.place.pattern
        number = 1 + int(self.share * operations.recorded(bench.operations, pattern))
        prepare = operations.ending(undisturbed.output, pattern, number, how)
        return bench.runner.start(undisturbed.argv(), prepare=prepare)


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields a moment at each place and a point in each part, again and again.

    A kill and SIGTERM take turns.
    """
    for turn in count():
        targets = [*random.sample(list(_PLACES), len(_PLACES)), *snapshots.parts(bench.retrain)]
        for number, target in enumerate(targets, start=turn):
            how = (signal.SIGKILL, signal.SIGTERM)[number % 2]
            share = random.random()
            if target in _PLACES:
                inject = partial(_end_at_moment, Moment(_PLACES[target], share), how)
            else:
                inject = partial(_end_at_point, Point(bench.retrain, target, share), how)
            yield Case("retrain", f"{how.name}, {target} at {share:.0%}", inject)


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields one case: a retraining that is ended at all places, and goes on after each."""
    parts = snapshots.parts(bench.retrain)
    places = sorted(
        [*_PLACES.values(), *map(_outputs, bench.retrain.seconds)],
        key=lambda place: parts.index(place.part),
    )
    moments = [Moment(place, random.random()) for place in places]
    yield Case("retrain", "all places in a row", partial(_end_in_a_row, moments), len(moments))


def _outputs(component: str) -> Place:
    # What begins with a dot is written for all components before the first one runs.
    return Place(component, rf"tfx/artifacts/{component}/[^.].*")


def _end_at_moment(moment: Moment, how: signal.Signals, bench: Bench) -> Verdict:
    snapshots.restore(bench, bench.retrain, moment.place.part)
    process = moment.start(bench, how)
    return _verdict(_problems(process, how), bench, [process])


def _end_at_point(point: Point, how: signal.Signals, bench: Bench) -> Verdict:
    restore = partial(snapshots.restore, bench, point.undisturbed, point.part)
    if how == signal.SIGKILL:
        return _verdict([], bench, [kill.kill(bench, point, restore)])
    restore()
    return _verdict(sigterm.terminate(bench, point), bench, [])


def _end_in_a_row(moments: list[Moment], bench: Bench) -> Verdict:
    bench.retrain.clear()
    problems, ended = [], []
    for number, moment in enumerate(moments):
        how = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        ended.append(moment.start(bench, how))
        problems += [f"{moment}: {problem}" for problem in _problems(ended[-1], how)]
    return _verdict(problems, bench, ended)


def _problems(process: Process, how: signal.Signals) -> list[str]:
    """Returns what is wrong with how a retraining has ended at a moment."""
    outcome = process.wait(600)
    if how == signal.SIGTERM:
        return sigterm.problems_of_end(process, outcome)
    if outcome.code != _KILLED:
        return [f"it was not killed, and ended with {outcome.code}: {outcome.err[-300:]}"]
    return []


def _verdict(problems: list[str], bench: Bench, ended: list[Process]) -> Verdict:
    """Repeats the retraining twice."""
    after = bench.next_run(bench.retrain, earlier=ended)
    if after.survived:
        problems = [*problems, *_repeat(bench)]
    return Verdict(False, "; ".join(problems), after.lost) if problems else after


def _repeat(bench: Bench) -> Iterator[str]:
    """Repeats a retraining for which there is nothing to do; yields what it did all the same."""
    undisturbed = bench.retrain
    before = _contents(undisturbed.output)
    outcome = bench.runner.run(undisturbed.argv())
    if outcome.code:
        yield f"a third one ended with {outcome.code}: {outcome.text[-300:]}"
    elif json.loads(outcome.out)["is_new"]:
        yield f"a third one ran: {outcome.out}"
    after = _contents(undisturbed.output)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"a third one changed {name}"


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
