"""A fault, and the verdict on what became of the run and of the next one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.faults import baseline, operations, spans
from benchmarks.faults.baseline import Baseline
from benchmarks.faults.runner import Outcome, Prepare, Process, Runner

FINISHED = (0, 3)
"""Exit codes of a run that finished: the model was blessed, or not."""
_REFUSED = (1, 2)
# The second decides by a comparison with the model that serves; any model passes.
_RETRAINING_GATES = ("recall >= 0.01", "pr_auc not worse than champion by 0.9")


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
        """A folder of drawn images in spans, see `spans`."""
        return spans.write(self.folder / "sample", self.folder / "later")

    @property
    def later(self) -> Path:
        """The folder of the span that arrives later."""
        return self.sample.with_name("later") / spans.NEXT

    @cached_property
    def run(self) -> Baseline:
        """The undisturbed `outnumbered run`."""
        settings = baseline.write_run(self.folder, self.sample)
        return self._undisturbed("run", settings, self.folder / "run" / "out")

    @cached_property
    def study(self) -> Baseline:
        """The undisturbed `outnumbered study`."""
        settings = baseline.write_study(self.folder, self.sample)
        return self._undisturbed("study", settings, self.folder / "study" / "out")

    @cached_property
    def retrain(self) -> Baseline:
        """The undisturbed `outnumbered retrain`, for which a span has arrived after the run."""
        grown = self.folder / "grown"
        baseline.copy(self.sample, grown)
        baseline.copy(self.later, grown / spans.NEXT)
        gates = {"gates": list(_RETRAINING_GATES)}
        settings = baseline.write_run(self.folder, grown, "retrain", evaluator=gates)
        output = self.run.output
        return self._undisturbed(
            "retrain",
            settings,
            output,
            before=self.run.saved,
            prepare=operations.recording(self.operations, output),
        )

    @property
    def operations(self) -> Path:
        """Where `retrain` has recorded its operations on files, see `operations`."""
        return self.folder / "operations"

    def _undisturbed(self, command: str, settings: Path, output: Path, **given: Any) -> Baseline:
        """Runs a command undisturbed; see `baseline.undisturbed`."""
        saved = self.folder / command / "saved"
        return baseline.undisturbed(
            self.runner, command, settings, output=output, saved=saved, **given
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
