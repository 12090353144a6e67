import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.sample.dataset import make_sample
from pipeline.sample.parallel import run_batches

PROJECT = Path(__file__).resolve().parents[3]

DRAW_MANY = """
import sys
from pathlib import Path
from pipeline.sample.dataset import make_sample

if __name__ == "__main__":
    make_sample(Path(sys.argv[1]), images=20000, workers=2)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for at most two minutes, so that a condition that is never met fails the test."""
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def drawing(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Yields a process that has started to draw into `folder`, and the file of its error output.

    The process leads its own group, so that a signal can reach its workers too.
    """
    script, errors = (folder.parent.with_name(name) for name in ("draw.py", "errors.txt"))
    folder.parent.mkdir()
    script.write_text(DRAW_MANY)
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            # Processes started in the background by a shell inherit that Ctrl-C is ignored.
            ["env", "--default-signal=INT", sys.executable, script, folder],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or any(folder.parent.rglob("*.jpg")))
        yield process, errors
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_error_in_the_middle_leaves_nothing(tmp_path: Path, workers: int) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_sample(tmp_path / "s", images=200, side=32, workers=workers, progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_appears_while_drawing_is_not_touched(tmp_path: Path) -> None:
    def put_something_there(done: int, total: int) -> None:
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / "mine.txt").write_text("mine")

    with pytest.raises(FileExistsError, match="in the meantime"):
        make_sample(tmp_path / "s", images=22, side=32, workers=1, progress=put_something_there)
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "mine.txt"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with drawing(home / "s") as (process, errors):
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    assert process.returncode == -signal.SIGINT
    assert list(home.iterdir()) == []
    assert errors.read_text().count("Traceback") == 1


def blocked_signals(_: int) -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_only_the_parent_receives_ctrl_c() -> None:
    for blocked in run_batches(blocked_signals, range(4), workers=2):
        assert signal.SIGINT in blocked
    assert signal.SIGINT not in blocked_signals(0)


def test_next_call_removes_the_folder_of_a_killed_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with drawing(home / "s[1]") as (process, _):
        workers = children(process.pid)
        process.kill()
        process.wait()
    assert len(workers) >= 2
    wait_until(lambda: not any(running(worker) for worker in workers))
    (left,) = home.iterdir()
    assert left.name.startswith(".s[1].unfinished-")
    make_sample(home / "s[1]", images=22, side=32, workers=1)
    assert [path.name for path in home.iterdir()] == ["s[1]"]


def test_one_call_leaves_another_call_s_unfinished_folder_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with drawing(home / "s"):
        (unfinished,) = home.iterdir()
        make_sample(home / "s", images=22, side=32, workers=1)
        assert unfinished.is_dir()
