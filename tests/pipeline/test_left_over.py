import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.in_progress import owned_name
from pipeline import left_over


def make(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    return path


def test_outputs_of_steps_that_did_not_finish_are_removed(tmp_path):
    steps = tmp_path / "tfx" / "artifacts"
    kept = make(steps / "Trainer" / "model" / "3" / "saved_model.pb")
    make(steps / "Trainer" / "model" / "2" / "saved_model.pb")
    make(steps / "Pusher" / "pushed_model" / "3" / "pushed.json")
    make(steps / "Trainer" / ".system" / "executor_execution" / "2" / ".temp" / "x")
    finished = ["/moved/since/tfx/artifacts/Trainer/model/3"]
    assert left_over.remove_outputs(tmp_path, finished) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


def test_a_folder_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    path = make(tmp_path / "tfx" / "artifacts" / "Trainer" / "model" / "2" / "x").parent

    def refuse(path: Path) -> None:
        raise PermissionError(f"not yours: {path}")

    monkeypatch.setattr(left_over, "remove", refuse)
    (problem,) = left_over.remove_outputs(tmp_path, [])
    assert problem.startswith(f"{path} of an interrupted run can't be removed: not yours")


def test_files_that_a_killed_run_was_writing_are_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    kept = {make(tmp_path / ".gitignore"), make(tmp_path / "runs" / "1" / "run.log")}
    for folder in (tmp_path, tmp_path / "tfx", tmp_path / "runs" / "1"):
        make(folder / f".{owned_name(gone.pid)}-x")
    left_over.remove_files(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == kept


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An output folder, next to an empty TMPDIR."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "out" / "tfx").mkdir(parents=True)
    return tmp_path / "out"


def test_temporary_files_lie_in_a_folder_that_is_removed_at_the_end(output):
    with left_over.temporary_folder(output) as folder:
        assert tempfile.mkdtemp().startswith(f"{folder}/")
        assert os.environ["TMPDIR"] == str(folder)
    assert not folder.exists()
    assert os.environ["TMPDIR"] == str(folder.parent)
    assert list((output / "tfx").iterdir()) == []


def test_the_next_run_removes_the_temporary_files_of_a_killed_one(output):
    program = (
        "import os, pathlib; from pipeline import left_over\n"
        f"with left_over.temporary_folder(pathlib.Path({str(output)!r})) as folder:\n"
        "    (folder / 'x').touch(); print(folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    killed = Path(done.stdout.decode().strip())
    assert killed.is_dir()
    with left_over.temporary_folder(output):
        assert not killed.exists()


def test_a_recorded_folder_that_no_run_made_is_kept(output, tmp_path):
    mine = make(tmp_path / "outnumbered-photos" / "cat.png")
    (output / "tfx" / "temporary").symlink_to(mine.parent)
    with left_over.temporary_folder(output):
        pass
    assert mine.exists()


def test_a_folder_for_temporary_files_that_cannot_be_written_to_is_named(output, monkeypatch):
    def full(**options: str) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with (
        pytest.raises(left_over.TemporaryFolderError, match=r"device: '/tmp/x'.*set TMPDIR"),
        left_over.temporary_folder(output),
    ):
        pass
