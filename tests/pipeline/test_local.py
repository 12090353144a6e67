"""The output folder of a run, its lock, the link to the latest run, and error messages."""

import errno
import io
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.registry import PushError, VersionRecord, open_registry
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


def test_what_to_do_is_reported_also_if_this_project_raised_the_error_from_another_one(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    (tmp_path / "file").touch()
    with pytest.raises(PushError) as caught:
        open_registry(tmp_path / "file" / "registry").push(
            tmp_path / "model", lambda number: VersionRecord(version=number)
        )
    error = RuntimeError("Pusher failed")
    error.__cause__ = caught.value
    assert "set pusher.registry to another folder" in root_message(error)


def test_an_error_without_a_message_is_reported_by_its_type():
    assert root_message(MemoryError()) == "MemoryError"


def test_two_runs_cannot_use_the_same_folder_and_the_second_leaves_nothing(tmp_path: Path):
    with local.locked(tmp_path, "lock"), pytest.raises(RunError, match="another run is using"):
        local.run(SETTINGS, tmp_path, data_version="")
    assert [path.name for path in tmp_path.rglob("*")] == ["tfx", "lock"]


def test_a_failed_run_releases_its_lock(tmp_path: Path):
    with pytest.raises(ValueError, match="boom"), local.locked(tmp_path, "lock"):
        raise ValueError("boom")
    with local.locked(tmp_path, "lock"):
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


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path):
    (tmp_path / "tfx" / "lock").mkdir(parents=True)
    with pytest.raises(RunError, match=rf"the lock {tmp_path}/tfx/lock can't be opened"):
        local.run(SETTINGS, tmp_path, data_version="")


def test_a_link_to_a_deleted_run_is_replaced(tmp_path: Path):
    (tmp_path / "latest").symlink_to("runs/deleted", target_is_directory=True)
    local._check_latest(tmp_path)
    folder = local._new_run_folder(tmp_path, SETTINGS)
    local._point_latest(tmp_path, folder)
    assert (tmp_path / "latest").resolve() == folder


def test_a_folder_in_place_of_the_link_is_refused_before_anything_is_made(tmp_path: Path):
    (tmp_path / "latest").mkdir()
    with pytest.raises(RunError, match=rf"{tmp_path}/latest must be the link"):
        local.run(SETTINGS, tmp_path, data_version="")
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_damaged_metadata_store_ends_the_run_with_the_log_named(tmp_path: Path):
    (tmp_path / "tfx").mkdir()
    (tmp_path / "tfx" / "metadata.sqlite").write_text("damaged " * 1000)
    with pytest.raises(RunError) as caught:
        local.run(SETTINGS, tmp_path, data_version="")
    message = str(caught.value)
    assert message.startswith(f"the metadata store {tmp_path}/tfx/metadata.sqlite is damaged")
    assert "\nFull log: " in message


def test_damage_that_appears_in_the_middle_of_a_run_is_reported_the_same_way(tmp_path: Path):
    error = RuntimeError("Error when executing query: database disk image is malformed query: X")
    message = local._error_message(error, tmp_path, tmp_path / "run.log")
    assert message.startswith(f"the metadata store {tmp_path}/tfx/metadata.sqlite is damaged")


def test_outputs_of_a_deleted_store_do_not_mix_with_new_ones(tmp_path: Path):
    shard = tmp_path / "tfx" / "artifacts" / "ImageExampleGen" / "examples" / "1" / "data"
    shard.parent.mkdir(parents=True)
    shard.write_text("old")
    screen = io.StringIO()
    local._open_store(tmp_path, screen)
    (moved,) = (tmp_path / "tfx").glob("artifacts.old-*")
    assert next(moved.rglob("data")).read_text() == "old"
    assert not (tmp_path / "tfx" / "artifacts").exists()
    assert f"moved to {moved}" in screen.getvalue()

    shard.parent.mkdir(parents=True)
    local._open_store(tmp_path, screen)
    assert shard.parent.is_dir()


@pytest.fixture
def free_space(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The free bytes of each folder, /ram being that for temporary files; others have plenty."""
    free: dict[str, int] = {}

    def usage(folder: str | Path) -> SimpleNamespace:
        return SimpleNamespace(free=free.get(str(folder), 2**30))

    monkeypatch.setattr(tempfile, "tempdir", "/ram")
    monkeypatch.setattr(shutil, "disk_usage", usage)
    return free


@pytest.mark.parametrize("both", [False, True])
def test_the_full_disk_is_named(tmp_path: Path, free_space: dict[str, int], both: bool):
    free_space["/ram"] = 0
    if both:
        free_space[str(tmp_path)] = 0
    error = OSError(errno.ENOSPC, "No space left on device")
    message = local._error_message(error, tmp_path, tmp_path / "run.log")
    place = str(tmp_path) if both else "temporary files in /ram"
    assert message.startswith(f"no space left for {place}; free some, or set")


def test_an_error_on_a_full_disk_says_so_whatever_its_message(tmp_path: Path, free_space):
    free_space[str(tmp_path)] = 4096
    error = RuntimeError("cannot commit - no transaction is active query: COMMIT")
    message = local._error_message(error, tmp_path, tmp_path / "run.log")
    assert f"active query: COMMIT\nLittle space is left for {tmp_path}; free some" in message


def test_a_read_only_folder_is_reported_with_what_to_do(tmp_path: Path):
    error = RuntimeError(f"{tmp_path}/tfx/artifacts/SchemaGen/schema/3; Read-only file system")
    message = local._error_message(error, tmp_path, tmp_path / "run.log")
    assert "SchemaGen/schema/3; Read-only file system\nMake it writable, or set --output" in message
