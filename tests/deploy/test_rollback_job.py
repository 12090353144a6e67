"""The command of the rollback job, as the guide gives it to users."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from components.registry import VersionRecord, open_registry

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "deploy" / "jobs" / "rollback.yaml"


def push(folder: Path, text: str) -> None:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_text(text)
    registry = open_registry(folder / "registry")
    registry.push(model, lambda number: VersionRecord(version=number, blessed=True))


def test_the_version_named_is_served_again_and_the_reason_is_recorded(tmp_path: Path):
    push(tmp_path, "one")
    push(tmp_path, "two")
    (container,) = yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]["containers"]
    program, *command = container["command"]
    given = {"/registry/cats-vs-dogs": str(tmp_path / "registry"), "VERSION": "1"}
    arguments = [given.get(argument, argument) for argument in container["args"]]
    assert set(given) <= set(container["args"])
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *command, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "registry" / "registry.json").read_text())
    assert state["serving"] == 1
    last = state["history"][-1]
    assert (last["action"], last["previous"], last["reason"]) == ("rollback", 2, "Job rollback")
    assert sorted(path.name for path in (tmp_path / "registry").glob("[0-9]*")) == ["1", "2"]
