import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from model_folders import make_model, recorded

from components import artifact_files, in_progress
from components.in_progress import owned_name
from components.registry import Pushed, PushError, local, open_registry

OWN = {"registry.json", ".lock"}
"""What the registry writes next to the versions."""


def push(model: Path, root: Path, *, blessed: bool = True) -> Pushed:
    return open_registry(root).push(model, recorded(blessed=blessed))


def versions(root: Path) -> list[int]:
    return open_registry(root).versions()


def content(folder: Path) -> dict[str, bytes]:
    """The files of a model, without those that the registry adds."""
    return {
        name: (folder / name).read_bytes()
        for name in artifact_files.names(str(folder))
        if name not in ("files.json", "version.json")
    }


def entries(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_versions_start_at_one_and_increase(tmp_path):
    root = tmp_path / "models" / "here"
    for version in (1, 2, 3):
        model = make_model(tmp_path / f"model{version}", f"weights {version}")
        pushed = push(model, root)
        assert (pushed.version, pushed.path, pushed.is_new) == (
            version,
            str(root / str(version)),
            True,
        )
        assert content(Path(pushed.path)) == content(model)
    assert versions(root) == [1, 2, 3]
    assert entries(root) == {"1", "2", "3", *OWN}


def test_a_new_version_is_greater_than_all_existing_ones(tmp_path):
    root = tmp_path / "models"
    for name in ("7", "1700000000", "latest", "3.old"):
        make_model(root / name, name)
    (root / "1700000001").write_text("a file where a version would go")
    pushed = push(make_model(tmp_path / "model"), root)
    assert pushed.version == 1700000002


def test_a_model_that_equals_the_newest_version_is_not_copied_again(tmp_path):
    root, model = tmp_path / "models", make_model(tmp_path / "model")
    push(model, root)
    again = push(model, root)
    assert (again.version, again.is_new) == (1, False)
    assert versions(root) == [1]


def test_an_older_model_that_does_not_serve_becomes_a_new_version(tmp_path):
    root = tmp_path / "models"
    old, new = make_model(tmp_path / "old", "old"), make_model(tmp_path / "new", "new")
    assert [push(model, root).version for model in (old, new, old)] == [1, 2, 3]


def test_a_folder_without_a_model_is_not_pushed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PushError, match=r"no SavedModel to push: .*/saved_model.pb does not exist"):
        push(tmp_path / "empty", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_copy_that_fails_halfway_leaves_nothing(tmp_path):
    root, model = tmp_path / "models", make_model(tmp_path / "model")
    push(make_model(tmp_path / "first", "first"), root)
    (model / "variables" / "variables.index").symlink_to(tmp_path / "gone")
    with pytest.raises(PushError, match=r"gone|variables.index"):
        push(model, root)
    assert entries(root) == {"1", *OWN}


def push_in_a_process(model: Path, root: Path, **how) -> subprocess.Popen:
    code = (
        "import sys; from components.registry import VersionRecord, open_registry; "
        "open_registry(sys.argv[2]).push(sys.argv[1], lambda n: VersionRecord(version=n))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(model), str(root)],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def test_a_full_disk_gives_an_error_and_leaves_nothing(tmp_path):
    # A limit on the file size simulates a full disk: the write itself fails.
    root, model = tmp_path / "models", make_model(tmp_path / "model", size=1_000_000)

    def limit_file_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    process = push_in_a_process(model, root, preexec_fn=limit_file_size)
    _, message = process.communicate()
    assert process.returncode == 1
    assert f"can't push to registry {root}: [Errno 27] File too large" in message
    assert "it is unchanged. Make it writable, free some space" in message
    assert entries(root) == {".lock"}


def test_a_registry_that_cannot_be_created_gives_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PushError, match=r"can't push to registry .*file/models"):
        push(make_model(tmp_path / "model"), tmp_path / "file" / "models")


@contextmanager
def without_root():
    """Runs the block as another user if this one is root, who may write anywhere."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield
    if was_root:
        os.seteuid(0)


def test_a_read_only_registry_gives_an_error():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "models")
        model = make_model(Path(folder, "model"))
        root.mkdir(mode=0o555)
        os.chmod(folder, 0o755)
        message = r"can't push to registry .*Permission denied.*Make it writable"
        with without_root(), pytest.raises(PushError, match=message):
            push(model, root)
        assert entries(root) == set()


@contextmanager
def stuck_push(model: Path, root: Path):
    """Starts a push in another process that waits in the middle of its copy.

    The last file of its model is a terminal, from which it reads what the test types.
    """
    listed = [
        *(artifact_files.describe(str(model), name) for name in artifact_files.names(str(model))),
        artifact_files.describe_content("variables/variables.zzz", b"the rest\n"),
    ]
    artifact_files.write_list(str(model), listed, check_digests=True)
    keyboard, screen = os.openpty()
    (model / "variables" / "variables.zzz").symlink_to(os.ttyname(screen))
    process = push_in_a_process(model, root)
    while not list(root.glob(".incoming-*/variables/variables.zzz")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    yield process, keyboard
    process.stderr.close()
    os.close(screen)
    os.close(keyboard)


def test_the_remains_of_a_killed_push_are_no_version_and_are_removed_by_the_next_push(tmp_path):
    root = tmp_path / "models"
    with stuck_push(make_model(tmp_path / "model"), root) as (process, _):
        process.kill()
        process.wait()
    (left,) = root.glob(".incoming-*")
    assert versions(root) == []
    pushed = push(make_model(tmp_path / "next", "next"), root)
    assert pushed.version == 1
    assert not left.exists()


def test_the_folder_of_another_machines_push_is_kept_for_a_day(tmp_path):
    root = tmp_path / "models"
    young, old = root / ".incoming-elsewhere-1", root / ".incoming-elsewhere-2"
    for path in (young, old):
        make_model(path)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    push(make_model(tmp_path / "model"), root)
    assert entries(root) == {"1", young.name, *OWN}


@pytest.mark.parametrize("neighbour", ["vm-2", "vm-", "vm.example.com", "v"])
def test_the_push_of_a_host_with_a_similar_name_is_kept(tmp_path, monkeypatch, neighbour):
    root = tmp_path / "models"
    gone = subprocess.Popen(["true"])
    gone.wait()
    theirs = make_model(root / f".incoming-{owned_name(gone.pid, neighbour)}")
    older = make_model(root / f".incoming-{neighbour}-{'0' * 32}")
    ours = make_model(root / f".incoming-{owned_name(gone.pid, 'vm')}")
    monkeypatch.setattr(in_progress.socket, "gethostname", lambda: "vm")
    push(make_model(tmp_path / "model"), root)
    assert entries(root) == {"1", theirs.name, older.name, *OWN}
    assert not ours.exists()


def test_what_a_killed_switch_of_the_pointer_has_left_is_removed_by_the_next_one(tmp_path):
    root = tmp_path / "models"
    push(make_model(tmp_path / "first", "first"), root)
    push(make_model(tmp_path / "second", "second"), root)
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = root / f".{owned_name(gone.pid)}-registry.json"
    left.write_text("{")
    open_registry(root).rollback()
    assert not left.exists()
    assert open_registry(root).serving() == 1


def test_the_push_of_a_running_process_is_kept_without_locks(tmp_path):
    root = tmp_path / "models"
    with subprocess.Popen(["sleep", "60"]) as other:
        theirs = make_model(root / f".incoming-{owned_name(other.pid)}")
        push(make_model(tmp_path / "model"), root)
        assert theirs.is_dir()
        other.kill()
    push(make_model(tmp_path / "next", "next"), root)
    assert entries(root) == {"1", "2", *OWN}


def test_a_push_waits_for_another_one_in_progress(tmp_path):
    root, quick, done = tmp_path / "models", make_model(tmp_path / "quick", "quick"), []
    with stuck_push(make_model(tmp_path / "slow", "slow"), root) as (first, keyboard):
        second = threading.Thread(target=lambda: done.append(push(quick, root)))
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
        # Ctrl-D ends the file for one read, and the end is read more than once.
        os.write(keyboard, b"the rest\n\x04\x04\x04")
        assert first.wait() == 0
        second.join()
    assert done[0].version == 2
    assert (root / "1" / "variables" / "variables.zzz").read_bytes() == b"the rest\n"


def test_parallel_pushes_give_one_complete_version_each(tmp_path):
    root = tmp_path / "models"
    models = [make_model(tmp_path / f"model{n}", f"{n}", size=200_000) for n in range(8)]
    threads = [threading.Thread(target=push, args=(model, root)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions(root) == list(range(1, 9))
    found = [content(root / str(version)) for version in range(1, 9)]
    assert all(content(model) in found for model in models)
    history = open_registry(root).state().history
    assert [(entry.version, entry.previous) for entry in history] == [
        (version, version - 1 or None) for version in range(1, 9)
    ]


def test_a_rename_never_replaces_a_version_that_appeared_in_the_meantime(tmp_path, monkeypatch):
    # Without a lock, another push may take the number first.
    root, check = tmp_path / "models", local._check

    def check_late(copy: Path) -> None:
        check(copy)
        if not root.joinpath("1").exists():
            make_model(root / "1", "theirs")
            (root / "2").mkdir()

    monkeypatch.setattr(local, "_check", check_late)
    pushed = push(make_model(tmp_path / "mine", "mine"), root)
    assert pushed.version == open_registry(root).serving() == 3
    assert open_registry(root).record(3).version == 3
    assert b"mine" in content(root / "3").values()
    assert b"theirs" in content(root / "1").values()
    assert list((root / "2").iterdir()) == []
