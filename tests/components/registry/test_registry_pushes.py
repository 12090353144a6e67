"""Pushes at once lose nothing, and a push that is killed leaves the registry as it was."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folders import make_model, recorded

from components.registry import Registry, RegistryError, bucket, local, open_registry
from components.stores import Store, store_of

REPOSITORY = Path(__file__).parents[3]

PROCESSES, PUSHES = 3, 3
PUSHER = """
import sys
from components.registry import VersionRecord, open_registry
registry = open_registry(sys.argv[1])
print(flush=True)
input()
for model in sys.argv[2:]:
    registry.push(model, lambda version: VersionRecord(version=version))
"""


def test_pushes_of_several_processes_at_once_give_one_version_each(root, registry, tmp_path):
    texts = [f"{process}-{number}" for process in range(PROCESSES) for number in range(PUSHES)]
    models = [make_model(tmp_path / text, text) for text in texts]
    pushers = [
        subprocess.Popen(
            [sys.executable, "-c", PUSHER, root, *models[first : first + PUSHES]],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(0, len(models), PUSHES)
    ]
    for pusher in pushers:
        pusher.stdout.readline()
    for pusher in pushers:
        pusher.stdin.write("\n")
        pusher.stdin.flush()
    for pusher in pushers:
        pusher.communicate()
        assert pusher.returncode == 0
    history = registry.state().history
    assert sorted(entry.version for entry in history) == registry.versions()
    previous = [None, *(entry.version for entry in history[:-1])]
    assert [entry.previous for entry in history] == previous
    assert registry.serving() == history[-1].version
    found = []
    for version in registry.versions():
        registry.verify(version)
        fetched = registry.fetch(version, tmp_path / "fetched")
        found.append((fetched / "variables" / "variables.data").read_text())
    assert sorted(found) == texts


class Killed(BaseException):
    """The process is dead: neither an `except` nor a `finally` reaches the store."""


class DyingStore:
    """A store whose process is killed after a number of requests."""

    def __init__(self, store: Store, requests: int):
        self._store, self._left = store, requests

    def __getattr__(self, name: str) -> Callable[..., object]:
        def request(*arguments: object) -> object:
            self._left -= 1
            if self._left < 0:
                raise Killed
            return getattr(self._store, name)(*arguments)

        return request


def push_and_die_in_a_bucket(root: str, model: Path, step: int) -> bool:
    """Pushes until the process is killed; returns whether it was done before."""
    store = DyingStore(store_of(root), step)
    try:
        Registry(bucket.bucket_storage(root, store)).push(model, recorded())
    except Killed:
        return False
    return True


def push_and_die_in_a_folder(root: str, model: Path, step: int) -> bool:
    """Kills a process that pushes at one of the lines of the code of the registry."""
    child = os.fork()
    if child == 0:
        left = (step + 1) * LINES_PER_STEP

        def trace(frame, event, _):
            nonlocal left
            left -= event == "line"
            if left < 0:
                os._exit(9)
            return trace if "components/registry" in frame.f_code.co_filename else None

        sys.settrace(trace)
        open_registry(root).push(model, recorded())
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


LINES_PER_STEP = 7


def push_and_die(root: str, model: Path, step: int) -> bool:
    act = push_and_die_in_a_bucket if "://" in root else push_and_die_in_a_folder
    return act(root, model, step)


@pytest.mark.parametrize("texts", [(), ("first",)])
def test_a_push_that_is_killed_at_any_point_leaves_the_registry_as_it_was(
    root, registry, push, tmp_path, texts
):
    for text in texts:
        push(text)
    before = registry.versions(), registry.serving()
    model = make_model(tmp_path / "model", "new")
    deaths = 0
    while not push_and_die(root, model, deaths):
        deaths += 1
        found = registry.versions(), registry.serving()
        if found != before:  # it was killed after the change of registry.json
            assert found == ([*before[0], found[1]], max(found[0]))
            assert registry._storage.read_state()[0] is not None
            registry.verify(found[1])
            break
        assert registry.state().history[len(texts) :] == []
    assert deaths > 10
    version = registry.push(model, recorded()).version
    assert (registry.versions(), registry.serving()) == ([*before[0], version], version)
    registry.verify(version)


def test_what_a_killed_push_has_left_is_removed_after_a_day(
    root, registry, push, tmp_path, monkeypatch
):
    push("first")
    model = make_model(tmp_path / "model", "new")
    step = 0
    while not (left := registry._storage.taken() - {1}):
        assert not push_and_die(root, model, step)
        step += 1
    assert registry.versions() == [1]
    assert push("second") > max(left)
    assert left < registry._storage.taken()
    later = time.time() + 25 * 60 * 60
    for module in (bucket, local):
        monkeypatch.setattr(module.time, "time", lambda: later)
    push("third")
    assert not left & registry._storage.taken()
    assert len(registry.versions()) == 3


def test_a_version_that_can_not_be_written_leaves_nothing(root, registry, push, tmp_path):
    push("first")
    model = make_model(tmp_path / "model", "new")

    def fail(version: int) -> None:
        raise RegistryError("no record")

    with pytest.raises(RegistryError, match="no record"):
        registry.push(model, fail)
    assert registry._storage.taken() == {1}
    assert (registry.versions(), registry.serving()) == ([1], 1)
