"""The fuzzers find what breaks a promise, keep it, and start from the same images each time."""

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks.fuzz import bounds, crashes, images, targets, worker
from benchmarks.fuzz.targets import TARGETS, Target
from components.images.reader import read_image


def failure_in_a_process(check) -> str:
    """The kind of error that a case ends with in a process of its own, or how it ended."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        bounds.bound_memory()
        error = crashes.failure(Target(check, ".txt"), b"")
        os.write(writer, type(error).__name__.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        found = said.read()
    return found or f"signal {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


def endless(data):
    while True:
        try:
            time.sleep(0) or sum(range(10_000))
        except Exception:  # as a reader that survives every error
            continue


def test_a_case_is_bounded_in_time_and_memory(monkeypatch):
    monkeypatch.setattr(crashes, "bounded_time", lambda: bounds.bounded_time(0.2))
    assert failure_in_a_process(endless) == "OutOfTimeError"
    assert failure_in_a_process(lambda _: bytearray(2 * bounds.BYTES)) == "MemoryError"
    assert failure_in_a_process(lambda _: os.kill(os.getpid(), 9)) == "signal -9"
    assert failure_in_a_process(lambda _: None) == "NoneType"


def test_slow_imports_do_not_count_as_a_failure_of_a_target(tmp_path, monkeypatch):
    monkeypatch.setattr(crashes, "bounded_time", lambda: bounds.bounded_time(0.2))
    loaded = []

    def check(data: bytes) -> None:
        if not loaded:
            end = time.process_time() + 0.5
            while time.process_time() < end:
                pass
            loaded.append(True)

    monkeypatch.setattr(worker, "bound_memory", lambda: None)  # it would bound the other tests too
    monkeypatch.setitem(worker.TARGETS, "gate", Target(check, ".txt"))
    worker.fuzz("gate", seconds=0.1, seed=1, output=tmp_path)
    assert loaded
    assert crashes.kept(tmp_path) == []


def test_what_breaks_a_target_is_kept_once_in_its_smallest_form(tmp_path):
    def check(data: bytes) -> None:
        raise KeyError(data)

    recorder = crashes.Recorder("gate", Target(check, ".txt"), tmp_path)
    for data in (b"long", b"ab", b"longer"):
        recorder.run(data)
    recorder.finish()
    (path,) = crashes.kept(tmp_path)
    assert path.read_bytes() == b"ab"
    error = path.with_name(f"{path.name}.error").read_text()
    assert f"-m benchmarks.fuzz --reproduce gate {path}\n" in error
    assert "KeyError: b'ab'" in error


def test_the_image_fuzzer_starts_from_the_same_images_which_are_read():
    corpus = images.corpus()
    assert corpus == images.corpus()
    refused = {"empty", "text", "F.tiff"}
    for name in corpus.keys() - refused:
        assert read_image(corpus[name]).width > 0, name
    for data in corpus.values():
        targets.image(data)
    png = corpus["RGB.png"]
    damaged = png[:20] + b"\x01" + png[21:]
    assert images.with_checksums(png) == png
    assert images.with_checksums(damaged)[29:33] != damaged[29:33]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_accepts_a_refusal_in_the_documented_way_only(name, monkeypatch):
    check = TARGETS[name].check
    check(b"")
    check(b"\xff\x00[")
    monkeypatch.setattr(targets, "MAX_MESSAGE", 1)
    monkeypatch.setattr(targets, "_MAX_DETAIL", 1)
    with pytest.raises(targets.BrokenPromiseError, match="a short message"):
        check(b"\xff\x00[")


def test_a_short_run_finds_nothing_and_counts_its_cases(tmp_path):
    command = [sys.executable, "-m", "benchmarks.fuzz", "image", "gate"]
    done = subprocess.run(
        [*command, "--seconds", "2", "--output", str(tmp_path)], stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    assert found["crashes"] == []
    assert all(found["cases"][name] > 0 for name in ("image", "gate"))
