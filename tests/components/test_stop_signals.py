"""Ctrl-C and SIGTERM in real processes: what is finished first, exit codes, and children."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

START = """
import os, pathlib, signal, subprocess, sys, threading, time
from components import stop_signals
from components.stop_signals import TerminatedError

stop_signals.install(lambda error: print("did not end in time:", error, flush=True))
"""
FINISH = """
except KeyboardInterrupt as error:
    print(type(error).__name__, flush=True)
    stop_signals.end(stop_signals.exit_code(error))
"""
TWO_KINDS = [
    (signal.SIGINT, "KeyboardInterrupt", 130),
    (signal.SIGTERM, "TerminatedError", 143),
]


def start(script: str, before: tuple[str, ...] = ("--default-signal=INT,TERM",)):
    """Runs a script that prints a line when it can be interrupted."""
    process = subprocess.Popen(
        # Processes started in the background by a shell inherit that Ctrl-C is ignored.
        ["env", *before, sys.executable, "-c", START + script],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process) -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    assert err == ""
    return process.returncode, out


def ends(pid: int) -> bool:
    """Whether a killed process ends, which takes a moment on a busy machine."""
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "name", "code"), TWO_KINDS)
def test_a_signal_raises_in_the_main_thread_and_has_its_exit_code(number, name, code):
    process = start(
        """
try:
    try:
        print("ready", flush=True)
        time.sleep(100)
    finally:
        print("tidied up")
"""
        + FINISH
    )
    process.send_signal(number)
    assert ended(process) == (code, f"tidied up\n{name}\n")


def test_a_deferred_block_is_finished_first():
    process = start(
        """
@stop_signals.deferred()
def save():
    print("ready", flush=True)
    time.sleep(1)
    print("saved")

try:
    save()
    print("never reached")
"""
        + FINISH
    )
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "saved\nTerminatedError\n")


SLOW_TO_END = """
child = subprocess.Popen(["sleep", "100"])
try:
    print("ready", flush=True)
    print(child.pid, flush=True)
    time.sleep(100)
finally:
    print("ending", flush=True)
    time.sleep(100)
"""


def test_a_second_signal_ends_the_process_and_its_children_at_once():
    process = start(SLOW_TO_END)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    time.sleep(1)  # a second signal right after the first is taken for the same
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, "")
    assert ends(child)


def test_a_signal_that_is_sent_twice_at_once_is_one_signal():
    # The child keeps the pipe open, for which `communicate` waits.
    process = start(SLOW_TO_END.replace("time.sleep(100)", "time.sleep(2)").replace("100", "3"))
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert "TerminatedError" in err, "the block after `finally` was not reached"
    assert out == ""


def test_a_process_that_does_not_end_in_time_is_ended_with_a_message():
    process = start("stop_signals.GRACE_SECONDS = 0.1\n" + SLOW_TO_END)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    expected = "ending\ndid not end in time: SIGTERM was received\n"
    assert ended(process) == (143, expected)
    assert ends(child)


def test_an_ignored_signal_stays_ignored():
    process = start(
        'print("ready", flush=True)\ntime.sleep(1)\nprint("done")', ("--ignore-signal=INT",)
    )
    process.send_signal(signal.SIGINT)
    assert ended(process) == (0, "done\n")


def test_a_forked_process_ends_by_itself():
    process = start(
        """
readable, writable = os.pipe()
child = os.fork()
if not child:
    os.write(writable, b".")
    time.sleep(100)
os.read(readable, 1)
os.kill(child, signal.SIGTERM)
print("ready", flush=True)
_, status = os.waitpid(child, 0)
time.sleep(1)
print(os.waitstatus_to_exitcode(status))
"""
    )
    assert ended(process) == (0, "-15\n")


def test_beam_does_not_turn_a_signal_into_another_error():
    process = start(
        """
import apache_beam as beam

def wait(_):
    print("ready", flush=True)
    time.sleep(100)

try:
    with beam.Pipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create([1]) | beam.Map(wait)
"""
        + FINISH
    )
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, "TerminatedError\n")
