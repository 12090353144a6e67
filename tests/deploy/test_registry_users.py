"""A step that only reads can't change what the Pusher has written: their users differ."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.registry import RegistryError, VersionRecord, open_registry
from pipeline.kubeflow.settings import Users

USERS = Users()
WRITER, READER = (USERS.writer, 0), (USERS.reader, USERS.reader)


def as_version(number: int) -> VersionRecord:
    return VersionRecord(version=number)


def done_as(user: tuple[int, int], action: Callable[[], object]) -> bool:
    """Whether a process of a user and group can do something; a refusal is no error."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(user[1])
            os.setuid(user[0])
            os.umask(0o022)
            action()
            code = 0
        except (OSError, RegistryError):
            code = 13
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 13}
    return code == 0


@pytest.fixture
def share() -> Iterator[Path]:
    """A volume of the writer, with a model to push; every user may enter it."""
    if os.geteuid():
        pytest.skip("only root can start processes of other users")
    folder = Path(tempfile.mkdtemp())
    model = folder / "model"
    model.mkdir()
    (model / "saved_model.pb").write_text("graph")
    (folder / "registry").mkdir()
    os.chown(folder / "registry", *WRITER)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_readers_can_read_a_pushed_model_and_change_nothing(share: Path):
    model, folder = share / "model", share / "registry" / "dogs"
    assert done_as(WRITER, lambda: open_registry(folder).push(model, as_version))
    pushed = folder / "1" / "saved_model.pb"
    assert done_as(READER, pushed.read_bytes)
    assert done_as(READER, lambda: open_registry(folder).verify(1))
    assert not done_as(READER, lambda: pushed.write_text("another graph"))
    assert not done_as(READER, pushed.unlink)
    assert not done_as(READER, (folder / "2").mkdir)
    (model / "saved_model.pb").write_text("another graph")
    assert not done_as(READER, lambda: open_registry(folder).push(model, as_version))
    assert open_registry(folder).versions() == [1]
    assert done_as(WRITER, lambda: open_registry(folder).push(model, as_version))
    assert open_registry(folder).versions() == [1, 2]
