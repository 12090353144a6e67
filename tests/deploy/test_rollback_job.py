"""The command of the rollback job, as the guide gives it to users."""

import subprocess
import sys
from pathlib import Path

import yaml

from components.registry import open_registry

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "deploy" / "jobs" / "rollback.yaml"


def make_version(registry: Path, version: int) -> None:
    model = registry / str(version)
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text(f"model {version}")


def test_the_version_named_serves_again(tmp_path: Path):
    registry = tmp_path / "cats-vs-dogs"
    for version in (1, 2):
        make_version(registry, version)
    (container,) = yaml.safe_load(JOB.read_text())["spec"]["template"]["spec"]["containers"]
    _, *command = container["command"]
    done = subprocess.run(
        [sys.executable, *command, registry, "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert open_registry(registry).serving() == 1
    assert open_registry(registry).versions() == [1, 2]
