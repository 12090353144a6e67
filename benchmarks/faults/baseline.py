"""The undisturbed run that the runs after a fault are compared with."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults import results
from benchmarks.faults.results import Result
from benchmarks.faults.runner import Runner
from pipeline.sample.dataset import make_sample

SPLITS = {
    "train": {"cats": 60, "dogs": 12},
    "val": {"cats": 30, "dogs": 6},
    "test": {"cats": 30, "dogs": 6},
}
_FROZEN = {"model": "xception", "weights": "none", "image_size": 71}
_DONE = re.compile(r"^([\w.]+): done, ([\d.]+) s$", re.MULTILINE)


@dataclass(frozen=True)
class Baseline:
    """A command, its undisturbed result, and the output folder in which cases repeat it.

    All cases work in the same folder, since the metadata store has absolute paths.

    Attributes:
      command: `run` or `study`.
      settings: path of the settings.
      output: the output folder.
      saved: a copy of the output folder after the undisturbed run.
      result: what the undisturbed run made.
      seconds: duration of each component, in the order in which they ran.
      may_differ: parts of the names of files in which another run may differ.
    """

    command: str
    settings: Path
    output: Path
    saved: Path
    result: Result
    seconds: Mapping[str, float]
    may_differ: tuple[str, ...] = ()

    def argv(self, *options: object) -> list[str]:
        """Returns the arguments of the command, with `--json` and additional options."""
        return argv(self.command, self.settings, self.output, *options)

    def clear(self) -> None:
        """Deletes the output folder."""
        shutil.rmtree(self.output, ignore_errors=True)

    def restore(self) -> None:
        """Sets the output folder back to the state after the undisturbed run."""
        self.clear()
        shutil.copytree(self.saved, self.output, symlinks=True)

    def differences(self) -> list[str]:
        """Says in what the last run differs from the undisturbed one, leftovers included."""
        try:
            found = results.read(self.output)
        except FileNotFoundError as error:
            return [f"there is no result: {error}"]
        differences = results.differences(self.result, found)
        return [each for each in differences if not any(part in each for part in self.may_differ)]


def argv(command: str, settings: Path, output: Path, *options: object) -> list[str]:
    """Returns the arguments of `outnumbered run` or `study`, with `--json`."""
    fixed = (command, "--settings", settings, "--output", output, "--json")
    return [str(word) for word in (*fixed, *options)]


def undisturbed(runner: Runner, folder: Path, command: str, settings: Path) -> Baseline:
    """Runs a command undisturbed.

    Args:
      runner: starts the command.
      folder: receives the output folder, `out`, and its copy, `saved`.
      command: `run` or `study`.
      settings: path of the settings.

    Raises:
      RuntimeError: the undisturbed run did not succeed.
    """
    output, saved = folder / "out", folder / "saved"
    outcome = runner.run(argv(command, settings, output))
    if outcome.code:
        raise RuntimeError(f"the undisturbed {command} ended with {outcome.code}: {outcome.text}")
    shutil.copytree(output, saved, symlinks=True)
    seconds = {name: float(took) for name, took in _DONE.findall(outcome.err)}
    return Baseline(command, settings, output, saved, results.read(output), seconds)


def write_sample(folder: Path) -> Path:
    """Draws 275 images of 32 pixels; returns their folder, which has a manifest."""
    make_sample(folder, images=275, side=32, random_state=0, workers=1)
    return folder


def write_run(folder: Path, sample: Path, **changes: Any) -> Path:
    """Writes the settings of a run of about 10 s; returns their path."""
    return _write(folder / "run.yaml", _common("faults", sample) | changes)


def write_study(folder: Path, sample: Path, **changes: Any) -> Path:
    """Writes the settings of a study with an arm on pixels and one on features."""
    tree = _common("faults-study", sample)
    del tree["evaluator"]
    arms = [
        {"name": "cnn", "train": "train"},
        {"name": "frozen", "train": "train", "trainer": _FROZEN},
    ]
    return _write(folder / "study.yaml", tree | {"arms": arms, "replicates": 2} | changes)


def _common(name: str, sample: Path) -> dict[str, Any]:
    return {
        "name": name,
        "data": {
            "source": str(sample),
            "manifest": str(sample / "manifest.csv"),
            "positive_class": "dogs",
        },
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {"splits": SPLITS},
        "trainer": {"model": "cnn", "image_size": 16, "epochs": 2},
        "evaluator": {"gates": ["recall >= 0.01"]},
    }


def _write(path: Path, tree: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path
