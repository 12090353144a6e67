"""The terminal output of a run, and its log file."""

import io
import logging
import subprocess
import sys

import pytest

from components import stop_signals
from pipeline.console import RunView, followed

PROGRAM = """
import os, pathlib, subprocess, sys
from pipeline.console import captured_output
try:
    with captured_output(pathlib.Path(sys.argv[1])) as screen:
        print("from python")
        os.write(2, b"from C\\n")
        subprocess.run(["echo", "from a child"], check=True)
        screen.write("for the user\\n")
        raise KeyError
except KeyError:
    print("after")
"""


def test_all_output_is_redirected_to_the_log_and_restored_after_an_error(tmp_path):
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, log], capture_output=True, text=True, check=True
    )
    assert done.stdout == "after\n"
    assert done.stderr == "for the user\n"
    assert {"from python", "from C", "from a child"} == set(log.read_text().splitlines())


def launch(component, *, cached=False, message=None):
    absl = logging.getLogger("absl")
    absl.info("Component %s is running.", component)
    if cached:
        absl.info("A cached execution %d is used.", 7)
    if message:
        logging.getLogger(f"outnumbered.{component}").info(message)
    absl.info("Component %s is finished.", component)


def test_each_component_is_shown_with_its_state_and_messages():
    screen = io.StringIO()
    with RunView(screen, ["Sampler", "Trainer"]) as view, followed(view):
        launch("Sampler", cached=True)
        launch("Trainer", message="epoch 1/3")
    lines = screen.getvalue().splitlines()
    assert lines[0] == "Sampler: running"
    assert lines[1] == "Sampler: cached, unchanged since an earlier run"
    assert lines[2:4] == ["Trainer: running", "Trainer: epoch 1/3"]
    assert lines[4].startswith("Trainer: done, ")


def test_a_component_that_fails_is_shown_as_failed():
    screen = io.StringIO()
    try:
        with RunView(screen, ["Trainer"]) as view, followed(view):
            logging.getLogger("absl").info("Component %s is running.", "Trainer")
            raise ValueError("no")
    except ValueError:
        pass
    assert "Trainer: failed" in screen.getvalue()


class Clock:
    """Seconds that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_silent_component_is_shown_at_least_every_ten_seconds_with_the_age_of_its_message():
    screen, clock = io.StringIO(), Clock()
    view = RunView(screen, ["Trainer"], clock=clock)
    view.started("Trainer")
    for clock.seconds in range(1, 40):
        if clock.seconds == 20:
            view.message("5 of 10 images, about 3 s left")
        view.remind()
    view.finished()
    assert screen.getvalue().splitlines() == [
        "Trainer: running",
        "Trainer: running for 8 s",
        "Trainer: running for 16 s",
        "Trainer: 5 of 10 images, about 3 s left",
        "Trainer: 5 of 10 images, about 3 s left (8 s ago)",
        "Trainer: 5 of 10 images, about 3 s left (16 s ago)",
        "Trainer: done, 39.0 s",
    ]


def test_nothing_is_said_between_components():
    screen, clock = io.StringIO(), Clock()
    view = RunView(screen, ["Trainer"], clock=clock)
    clock.seconds = 100.0
    view.remind()
    assert screen.getvalue() == ""


def test_log_levels_are_restored():
    before = logging.getLogger("absl").level
    with RunView(io.StringIO(), []) as view, followed(view):
        pass
    assert logging.getLogger("absl").level == before


def test_no_component_starts_after_a_signal_whose_exception_a_library_suppressed(monkeypatch):
    monkeypatch.setattr(stop_signals._received, "error", KeyboardInterrupt("Ctrl-C was pressed"))
    screen = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        RunView(screen, ["Trainer"]) as view,
        followed(view),
    ):
        logging.getLogger("absl").info("Component %s is running.", "Trainer")
    assert "running" not in screen.getvalue()
