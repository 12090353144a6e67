"""The state of an output folder at the start of each component of an undisturbed run."""

import contextlib
import signal
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.baseline import Baseline, copy
from benchmarks.faults.cases import Bench
from benchmarks.faults.runner import Process

START, END = "the start", "the end"
# Until the first component runs, and from the last one's end to that of the process.
_SECONDS = {START: 0.3, END: 0.1}


@dataclass(frozen=True)
class Point:
    """A point of a run.

    Attributes:
      undisturbed: the run.
      part: a component, or START or END.
      share: of the part's duration, from 0 to 1.
    """

    undisturbed: Baseline
    part: str
    share: float

    def __str__(self) -> str:
        return f"{self.undisturbed.command}, {self.part} at {self.share:.0%}"

    def reach(self, process: Process) -> None:
        """Waits until a process of the run is at the point or the end of the part, or has ended."""
        process.wait_for(*self._lines())
        with contextlib.suppress(TimeoutError):  # the part takes longer
            process.wait_for(*self._last_lines(), timeout=self.delay)

    def _lines(self) -> list[str]:
        """What is printed at the start of the part."""
        if self.part == START:
            return ["Loading"]
        if self.part == END:
            last = list(self.undisturbed.seconds)[-1]
            return [f"{last}: done", f"{last}: cached"]
        return [f"{self.part}: running"]

    def _last_lines(self) -> list[str]:
        """What is printed at the end of the part; nothing at that of the run."""
        if self.part == START:
            return [f"{next(iter(self.undisturbed.seconds))}: running"]
        return [] if self.part == END else [f"{self.part}: done", f"{self.part}: cached"]

    @property
    def delay(self) -> float:
        """The time from the start of the part to the point, in seconds."""
        return self.share * ({**_SECONDS, **self.undisturbed.seconds}[self.part])


def parts(undisturbed: Baseline) -> list[str]:
    """Returns the parts of a run, in order."""
    return [START, *undisturbed.seconds, END]


def restore(bench: Bench, undisturbed: Baseline, part: str) -> None:
    """Sets the output folder to its state at the start of a part."""
    undisturbed.clear()
    if part == START:
        return
    saved = undisturbed.saved.with_name("snapshots")
    if not saved.exists():
        _save(bench.runner.start(undisturbed.argv()), undisturbed, saved)
    undisturbed.set(saved / (list(undisturbed.seconds)[-1] if part == END else part))


def _save(process: Process, undisturbed: Baseline, saved: Path) -> None:
    for component in undisturbed.seconds:
        process.wait_for(f"{component}: running")
        process.send(signal.SIGSTOP)
        copy(undisturbed.output, saved / component)
        process.send(signal.SIGCONT)
    process.wait()
