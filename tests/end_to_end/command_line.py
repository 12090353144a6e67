"""The command line as a user has it: a process of its own, its exit code and what it printed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command of the command line ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON object."""
        return json.loads(self.out)


def outnumbered(*arguments: object, cwd: Path | None = None) -> Outcome:
    """Runs the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=command_environment(),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def command_environment() -> dict[str, str]:
    """An environment in which the project is found from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_COLOR": "1"}


@dataclass(frozen=True)
class FinishedRun:
    """A run that came to its end, and the folder that it worked in."""

    output: Path
    outcome: Outcome
    result: dict[str, Any]


def run_to_its_end(*options: object, output: Path, cwd: Path | None = None) -> FinishedRun:
    """Runs `outnumbered run` with `--json`; whether the model is blessed is left open."""
    outcome = outnumbered("run", *options, "--output", output, "--json", cwd=cwd)
    assert outcome.code in {0, 3}, outcome.err
    return FinishedRun(output, outcome, outcome.json)
