"""Runs the command line in a separate process and captures its exit code and output."""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.runner import Runner


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON object."""
        return json.loads(self.out)


def outnumbered(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Runs the command line in a process that has done its imports, which take most of its time."""
    done = _runner().run(arguments, cwd=cwd or Path.cwd(), timeout=None)
    return Outcome(done.code, done.out, done.err)


def outnumbered_anew(*arguments: object) -> Outcome:
    """Runs the command line in a new Python, as users do."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=command_environment(),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@functools.cache
def _runner() -> Runner:
    folder = tempfile.TemporaryDirectory(prefix="outnumbered-commands-")
    atexit.register(folder.cleanup)
    runner = Runner(Path(folder.name))
    atexit.register(runner.__exit__)
    return runner.__enter__()


def command_environment() -> dict[str, str]:
    """An environment in which the project can be imported from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run and its output folder."""

    output: Path
    outcome: Outcome
    result: dict[str, Any]


def run_pipeline(
    *options: object, output: Path, cwd: Path | None = None, anew: bool = False
) -> FinishedRun:
    """Runs `outnumbered run` with `--json`; the model may or may not be blessed."""
    arguments = ("run", *options, "--output", output, "--json")
    outcome = outnumbered_anew(*arguments) if anew else outnumbered(*arguments, cwd=cwd)
    assert outcome.code in {0, 3}, outcome.err
    return FinishedRun(output, outcome, outcome.json)
