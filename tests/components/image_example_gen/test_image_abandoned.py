import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.image_example_gen.abandoned import remove_abandoned, staging_folder

_INGESTION = """
import sys
from components.image_example_gen.abandoned import staging_folder
with staging_folder(sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Iterator[Path]:
    """The outputs of three ingestions: `1` was killed, `2` is running, `3` is finished."""
    outputs = tmp_path_factory.mktemp("outputs")
    ingestions = [start(outputs / name) for name in ("1", "2")]
    with staging_folder(str(outputs / "3")):
        (outputs / "3" / "Split-all").mkdir()
    for name, ingestion in zip(("1", "2"), ingestions, strict=True):
        ingestion.stdout.readline()
        (outputs / name / ".staging" / "examples-00000").write_bytes(bytes(100))
    ingestions[0].send_signal(signal.SIGKILL)
    ingestions[0].wait()
    yield outputs
    ingestions[1].communicate()


def start(output: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", _INGESTION, str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_the_output_of_a_killed_ingestion_is_removed_and_no_other(outputs):
    assert sorted(os.listdir(outputs / "1" / ".staging")) == ["examples-00000", "lock"]
    remove_abandoned(str(outputs))
    assert sorted(os.listdir(outputs)) == ["2", "3"]
    assert sorted(os.listdir(outputs / "2" / ".staging")) == ["examples-00000", "lock"]
    assert os.listdir(outputs / "3") == ["Split-all"]


def test_an_ingestion_removes_what_a_killed_one_left(photos, ingest, tmp_path):
    left = tmp_path / "out" / "examples" / "0" / ".staging"
    left.mkdir(parents=True)
    (left / "lock").touch()
    (left / "examples-00000").write_bytes(bytes(100))
    ingest(photos)
    assert os.listdir(tmp_path / "out" / "examples") == ["1"]


def test_an_output_that_cannot_be_removed_does_not_stop_an_ingestion(tmp_path, monkeypatch, caplog):
    left = tmp_path / "0" / ".staging"
    left.mkdir(parents=True)
    (left / "lock").touch()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("components.image_example_gen.abandoned.fileio.rmtree", refuse)
    remove_abandoned(str(tmp_path))
    assert f"can't remove {tmp_path}/0" in caplog.text
