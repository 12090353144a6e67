"""Steps of the stand-in for a cluster, in processes that are forked with all imports done."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.faults.runner import Process, Runner


class Step:
    """A started step, with what the stand-in reads of a process."""

    def __init__(self, process: Process, log: Path):
        self._process, self._log = process, log
        self.pid = process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code, or None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """Kills it."""
        self._process.kill()

    def wait(self) -> int:
        """Waits for its end, and keeps what it printed."""
        outcome = self._process.wait(600)
        self._log.write_text(outcome.text, encoding="utf-8")
        self.returncode = outcome.code
        return outcome.code


def starter(runner: Runner) -> Callable[[Sequence[str], Path, Mapping[str, str], Path], Step]:
    """Returns what starts the command of a step, see `Cluster.start` of the stand-in.

    Args:
      runner: forks the processes.
    """

    def start(
        command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> Step:
        module, *arguments = command[command.index("-m") + 1 :]
        main = f"{module}:main"
        return Step(runner.start(arguments, env=environment, cwd=folder, command=main), log)

    return start
