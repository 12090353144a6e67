"""A fault, and the verdict on what became of the run and of the next one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.faults import baseline
from benchmarks.faults.baseline import Baseline
from benchmarks.faults.runner import Outcome, Prepare, Process, Runner

FINISHED = (0, 3)
"""Exit codes of a run that finished: the model was blessed, or not."""
_REFUSED = (1, 2)


@dataclass(frozen=True)
class Verdict:
    """What became of a fault.

    Attributes:
      survived: the next run ended equal to the undisturbed one, or in words that name the file
        and the remedy.
      why: what happened, in a line.
      lost: something that had been made was lost, or was wrong without a word.
    """

    survived: bool
    why: str
    lost: bool = False


@dataclass(frozen=True)
class Case:
    """A fault of a kind.

    Attributes:
      kind: one of `benchmarks.faults.kinds`.
      name: what is injected where, unique in its kind.
      inject: injects the fault, runs again, and returns the verdict.
      faults: number of faults that it injects.
    """

    kind: str
    name: str
    inject: Callable[["Bench"], Verdict]
    faults: int = 1


@dataclass(frozen=True)
class Place:
    """Where the output folder of a run is.

    Attributes:
      prepare: called in the run's process before the command, to see the folder.
      collect: copies the output folder to where the benchmark sees it.
    """

    prepare: Prepare | None = None
    collect: Callable[[], object] = lambda: None


HERE = Place()
"""The output folder is where everybody sees it."""


class Bench:
    """What all cases share: the runner, and the undisturbed runs, which are made when used.

    Attributes:
      folder: for all that the cases write.
    """

    def __init__(self, runner: Runner, folder: Path):
        self.runner = runner
        self.folder = folder

    @cached_property
    def sample(self) -> Path:
        """A folder of drawn images, with a manifest."""
        return baseline.write_sample(self.folder / "sample")

    @cached_property
    def run(self) -> Baseline:
        """The undisturbed `outnumbered run`."""
        return self.undisturbed("run", baseline.write_run(self.folder, self.sample))

    @cached_property
    def study(self) -> Baseline:
        """The undisturbed `outnumbered study`."""
        return self.undisturbed("study", baseline.write_study(self.folder, self.sample))

    def undisturbed(self, command: str, settings: Path, folder: str | None = None) -> Baseline:
        """Runs a command undisturbed, in a folder of this name."""
        return baseline.undisturbed(
            self.runner, self.folder / (folder or command), command, settings
        )

    def next_run(
        self,
        undisturbed: Baseline,
        *options: object,
        named: Iterable[object] = (),
        remedy: Callable[[], object] | None = None,
        earlier: Iterable[Process] = (),
        place: Place = HERE,
    ) -> Verdict:
        """Runs the command after a fault and compares.

        Args:
          undisturbed: what the run is compared with; its output folder has suffered the fault.
          options: additional options of the command.
          named: what the message must contain if the run is refused: the file, and a word of the
            remedy.
          remedy: does what the message says; the run after it must be equal. None: the run must
            not be refused.
          earlier: processes that suffered the fault; the run must remove what they left.
          place: where the output folder is.
        """
        process = self.runner.start(undisturbed.argv(*options), prepare=place.prepare)
        outcome = process.wait(600)
        if remedy is not None and outcome.code in _REFUSED:
            if problems := list(unclear(outcome, named)):
                return Verdict(False, "; ".join(problems))
            remedy()
            after = self.next_run(undisturbed, *options, earlier=earlier, place=place)
            why = f"refused in words, and after the remedy: {after.why}"
            return Verdict(after.survived, why, after.lost)
        if outcome.code not in FINISHED:
            return Verdict(False, f"the next run ended with {outcome.code}: {_last(outcome)}")
        place.collect()
        left = [problem for each in (process, *earlier) for problem in left_behind(each)]
        problems = [*undisturbed.differences(), *left]
        if problems:
            wrong = any(not problem.startswith("left over") for problem in problems)
            return Verdict(False, f"the next run: {'; '.join(problems[:5])}", lost=wrong)
        return Verdict(True, "the next run was equal")


def unclear(outcome: Outcome, named: Iterable[object]) -> Iterator[str]:
    """Yields what is missing in the words of a run that was refused."""
    if "Traceback" in outcome.text:
        yield f"a traceback: {_last(outcome)}"
    if "error: " not in outcome.err:
        yield f"no message: {_last(outcome)}"
    for text in map(str, named):
        if text not in outcome.err:
            yield f"the message does not contain {text!r}: {_last(outcome)}"


def left_behind(process: Process) -> Iterator[str]:
    """Yields the processes and temporary files that a process has left behind."""
    if running := process.left_running():
        yield f"left over: {len(running)} processes"
    for path in sorted(process.temporary.rglob("*")):
        yield f"left over in TMPDIR: {path.relative_to(process.temporary)}"


def _last(outcome: Outcome) -> str:
    return " / ".join(outcome.err.strip().splitlines()[-4:])[-600:]
