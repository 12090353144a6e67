"""The output folder of a run, its lock, the link to the latest run, and error messages."""

from pathlib import Path

import pytest

from pipeline import local
from pipeline.local import RunError, root_message
from pipeline.settings import load, preset_path

SETTINGS = load(preset_path("notebook_cnn"))


def test_the_original_error_is_extracted_from_beams_traceback():
    text = (
        "Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in process\n'
        "components.imbalance_sampler.request.SamplingError: split 'train' asks for 30\n"
        "lower it [while running 'Plan/Check']\n"
    )
    assert root_message(RuntimeError(text)) == "split 'train' asks for 30\nlower it"


def test_the_last_cause_of_a_chain_is_reported():
    error = RuntimeError("Trainer failed")
    error.__cause__ = FileNotFoundError("no weights at x")
    assert root_message(error) == "no weights at x"


def test_an_error_without_a_message_is_reported_by_its_type():
    assert root_message(MemoryError()) == "MemoryError"


def test_two_runs_cannot_use_the_same_folder(tmp_path: Path):
    local._new_run_folder(tmp_path, SETTINGS)
    with (
        local._locked(tmp_path),
        pytest.raises(RunError, match="another run is using"),
        local._locked(tmp_path),
    ):
        pass


def test_a_failed_run_releases_its_lock(tmp_path: Path):
    local._new_run_folder(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="boom"), local._locked(tmp_path):
        raise ValueError("boom")
    with local._locked(tmp_path):
        pass


def test_latest_points_to_the_newest_run(tmp_path: Path):
    for _ in range(2):
        folder = local._new_run_folder(tmp_path, SETTINGS)
        local._point_latest(tmp_path, folder)
        assert (tmp_path / "latest").resolve() == folder
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't be written to"):
        local.run(SETTINGS, tmp_path / "file", data_version="")
