"""The unit files and the crontab for retraining on one machine."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from pipeline.cli import app

FOLDER = Path(__file__).parents[2] / "deploy" / "timer"
INSTALLED = "/opt/outnumbered/.venv/bin/outnumbered"
UNITS = ("outnumbered-retrain@.service", "outnumbered-retrain@.timer")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def verified(folder, *, edit=lambda text: text):
    """What systemd says of the units, with the command where it is on this machine."""
    for name in UNITS:
        text = (FOLDER / name).read_text().replace(INSTALLED, f"{sys.prefix}/bin/outnumbered")
        (folder / name.replace("@.", "@dogs.")).write_text(edit(text))
    found = sorted(map(str, folder.iterdir()))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *found],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


@needs_systemd
def test_systemd_accepts_the_units(tmp_path):
    assert verified(tmp_path) == (0, "")


@needs_systemd
def test_systemd_would_name_an_unknown_key(tmp_path):
    _, said = verified(tmp_path, edit=lambda text: text.replace("UMask", "UMusk"))
    assert "UMusk" in said


def commands():
    service = (FOLDER / UNITS[0]).read_text()
    cron = (FOLDER / "crontab").read_text()
    return {
        "service": re.search(r"^ExecStart=(.*)$", service, re.MULTILINE)[1],
        "crontab": re.search(rf"{INSTALLED}[^>]*", cron)[0],
    }


@pytest.mark.parametrize("where", ["service", "crontab"])
def test_the_command_has_options_that_exist(where):
    program, command, *arguments = shlex.split(commands()[where])
    assert (program, command) == (INSTALLED, "retrain")
    retrain = typer.main.get_command(app).commands[command]
    found = retrain.make_context("retrain", arguments).params
    assert (found["settings"], found["output"]) == ("settings.yaml", "runs")


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (1, 1)])
def test_cron_mails_failures_but_not_rejected_models(tmp_path, code, expected):
    (line,) = (
        line
        for line in (FOLDER / "crontab").read_text().splitlines()
        if "retrain" in line and not line.startswith("#")
    )
    command = line.split(maxsplit=5)[5]
    stand_in = tmp_path / "outnumbered"
    stand_in.write_text(f"#!/bin/sh\nexit {code}\n")
    stand_in.chmod(0o755)
    command = command.replace(INSTALLED, str(stand_in)).replace(
        "/srv/outnumbered/NAME", str(tmp_path)
    )
    done = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (expected, b"")
