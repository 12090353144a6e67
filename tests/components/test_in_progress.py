import os
import subprocess
import time

import pytest

from components.in_progress import owned_name, remove_abandoned


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_an_ended_process_was_writing_is_removed(tmp_path, gone):
    folder = tmp_path / f".{owned_name(gone)}-folder"
    folder.mkdir()
    (folder / "content").touch()
    (tmp_path / f".{owned_name(gone)}-file").touch()
    (tmp_path / f".{owned_name(gone)}-link").symlink_to(tmp_path)
    remove_abandoned(tmp_path.glob(".*"))
    assert list(tmp_path.iterdir()) == []


def test_what_running_processes_and_other_machines_write_is_kept_for_a_day(tmp_path, gone):
    names = [owned_name(), owned_name(os.getppid()), owned_name(gone, "elsewhere")]
    paths = {tmp_path / f".{name}" for name in names}
    for path in paths:
        path.touch()
    remove_abandoned(tmp_path.glob(".*"))
    assert set(tmp_path.iterdir()) == paths
    for path in paths:
        os.utime(path, times=(time.time() - 25 * 3600,) * 2)
    remove_abandoned(tmp_path.glob(".*"))
    assert list(tmp_path.iterdir()) == []
