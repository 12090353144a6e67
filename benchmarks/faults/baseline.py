"""The undisturbed run that the runs after a fault are compared with."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults import results
from benchmarks.faults.results import Result
from benchmarks.faults.runner import Prepare, Runner
from pipeline.sample.dataset import MANIFEST

SPLITS = {"train": 0.5, "val": 0.25, "test": 0.25}
"""The share of the images in each split."""

_FROZEN = {"model": "xception", "weights": "none", "image_size": 71}
_DONE = re.compile(r"^([\w.]+): done, ([\d.]+) s$", re.MULTILINE)


@dataclass(frozen=True)
class Baseline:
    """A command, its undisturbed result, and the output folder in which cases repeat it.

    All cases work in the same folder, since the metadata store has absolute paths.

    Attributes:
      command: `run`, `study` or `retrain`.
      settings: path of the settings.
      output: the output folder.
      saved: a copy of the output folder after the undisturbed run.
      result: what the undisturbed run made.
      seconds: duration of each component, in the order in which they ran.
      before: a copy of the output folder before the undisturbed run; None if there was none.
      may_differ: parts of the differences that another run may have.
    """

    command: str
    settings: Path
    output: Path
    saved: Path
    result: Result
    seconds: Mapping[str, float]
    before: Path | None = None
    may_differ: tuple[str, ...] = ()

    def argv(self, *options: object) -> list[str]:
        """Returns the arguments of the command, with `--json` and additional options."""
        return argv(self.command, self.settings, self.output, *options)

    def clear(self) -> None:
        """Sets the output folder back to the state before the undisturbed run."""
        self.set(self.before)

    def restore(self) -> None:
        """Sets the output folder back to the state after the undisturbed run."""
        self.set(self.saved)

    def set(self, saved: Path | None) -> None:
        """Replaces the output folder by a copy of a folder; None deletes it."""
        shutil.rmtree(self.output, ignore_errors=True)
        if saved is not None:
            copy(saved, self.output)

    def differences(self) -> list[str]:
        """Says in what the last run differs from the undisturbed one, leftovers included."""
        try:
            found = results.read(self.output)
        except FileNotFoundError as error:
            return [f"there is no result: {error}"]
        differences = results.differences(self.result, found)
        return [each for each in differences if not any(part in each for part in self.may_differ)]


def argv(command: str, settings: Path, output: Path, *options: object) -> list[str]:
    """Returns the arguments of a command that writes an output folder, with `--json`."""
    fixed = (command, "--settings", settings, "--output", output, "--json")
    return [str(word) for word in (*fixed, *options)]


def copy(folder: Path, target: Path) -> None:
    """Copies a folder; hard links stay, as between the shards of a kept span and of the examples.

    A damaged file has all its names damaged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", folder, target], check=True)


def undisturbed(
    runner: Runner,
    command: str,
    settings: Path,
    *,
    output: Path,
    saved: Path,
    before: Path | None = None,
    prepare: Prepare | None = None,
) -> Baseline:
    """Runs a command undisturbed.

    Args:
      runner: starts the command.
      command: `run`, `study` or `retrain`.
      settings: path of the settings.
      output: the output folder.
      saved: receives a copy of it.
      before: a copy of it before the run; None if there was none.
      prepare: called in the process before the command.

    Raises:
      RuntimeError: the undisturbed run did not succeed.
    """
    shutil.rmtree(output, ignore_errors=True)
    if before is not None:
        copy(before, output)
    outcome = runner.run(argv(command, settings, output), prepare=prepare)
    if outcome.code:
        raise RuntimeError(f"the undisturbed {command} ended with {outcome.code}: {outcome.text}")
    copy(output, saved)
    seconds = {name: float(took) for name, took in _DONE.findall(outcome.err)}
    return Baseline(command, settings, output, saved, results.read(output), seconds, before)


def write_run(folder: Path, sample: Path | str, name: str = "run", **changes: Any) -> Path:
    """Writes the settings of a run of about 10 s, in a file of a name; returns its path."""
    return _write(folder / f"{name}.yaml", _common("faults", sample) | changes)


def write_study(folder: Path, sample: Path, **changes: Any) -> Path:
    """Writes the settings of a study with an arm on pixels and one on features."""
    tree = _common("faults-study", sample)
    del tree["evaluator"]
    arms = [
        {"name": "cnn", "train": "train"},
        {"name": "frozen", "train": "train", "trainer": _FROZEN},
    ]
    return _write(folder / "study.yaml", tree | {"arms": arms, "replicates": 2} | changes)


def _common(name: str, sample: Path | str) -> dict[str, Any]:
    return {
        "name": name,
        "data": {
            "source": f"{sample}/{{SPAN}}",
            "manifest": f"{sample}/{{SPAN}}/{MANIFEST}",
            "window": "all",
            "positive_class": "dogs",
        },
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {
            "assignment": "stable",
            "splits": {name: {"cats": share, "dogs": share} for name, share in SPLITS.items()},
        },
        "trainer": {"model": "cnn", "image_size": 16, "epochs": 2},
        "evaluator": {"gates": ["recall >= 0.01"]},
    }


def _write(path: Path, tree: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path
