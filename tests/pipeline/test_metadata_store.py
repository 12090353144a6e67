"""A metadata store that can't be used: the error names the file, what to do and what is lost."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import metadata_store
from pipeline.metadata_store import MetadataStoreError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The content of a new store."""
    output = tmp_path_factory.mktemp("whole")
    (output / "tfx").mkdir()
    metadata_store.connect(output)
    return metadata_store.path(output).read_bytes()


@pytest.fixture
def store(tmp_path: Path, whole: bytes) -> Path:
    """A store in the output folder `tmp_path`."""
    path = metadata_store.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(whole)
    return path


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x55
    path.write_bytes(content)


def changed(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)


def refusal(output: Path) -> str:
    with pytest.raises(MetadataStoreError) as caught:
        metadata_store.connect(output)
    return str(caught.value)


def test_a_whole_store_is_accepted_and_not_changed(tmp_path: Path, store: Path, whole: bytes):
    metadata_store.check(store)
    assert store.read_bytes() == whole


def test_a_name_that_is_no_text_any_more_is_damage(tmp_path: Path, store: Path, whole: bytes):
    store.write_bytes(whole.replace(b"tableEventPath", b"tableEve\xeetPath"))
    assert f"{store} is damaged" in refusal(tmp_path)


def test_a_store_that_does_not_exist_is_accepted_and_not_created(tmp_path: Path):
    metadata_store.check(metadata_store.path(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:100_000]),
        lambda path: path.write_bytes(path.read_bytes()[:10]),
        lambda path: path.write_text("not a database " * 1000),
        lambda path: flip(path, 0),
        lambda path: flip(path, 8192),
        lambda path: changed(path, "DROP TABLE Artifact"),
        lambda path: changed(path, "DELETE FROM MLMDEnv"),
    ],
)
def test_a_damaged_store_is_refused_with_what_to_do_and_what_is_lost(
    tmp_path: Path, store: Path, damage: Callable[[Path], None]
):
    damage(store)
    before = store.read_bytes()
    message = refusal(tmp_path)
    assert message.startswith(f"the metadata store {store} is damaged (")
    assert f"mv {store} {store}.old. The cache and the list of earlier runs are lost" in message
    assert "pushed models, checkpoints, ledgers and the results in runs/ are kept" in message
    assert store.read_bytes() == before


@pytest.mark.parametrize(("version", "relation"), [(99, "greater than"), (7, "older than")])
def test_a_store_of_another_version_is_not_called_damaged(
    tmp_path: Path, store: Path, version: int, relation: str
):
    changed(store, f"UPDATE MLMDEnv SET schema_version = {version}")
    message = refusal(tmp_path)
    assert f"is of another version of ML Metadata (MLMD database version {version}" in message
    assert relation in message
    assert "use the version of the project that wrote it, or rename it" in message


def test_a_store_in_use_by_another_program_is_not_called_damaged(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metadata_store, "LOCK_SECONDS", 0.1)
    with sqlite3.connect(store, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "can't be used (database is locked)" in refusal(tmp_path)


def test_a_folder_in_place_of_the_store(tmp_path: Path):
    metadata_store.path(tmp_path).mkdir(parents=True)
    assert "can't be written to (unable to open database file)" in refusal(tmp_path)


def test_a_store_that_can_only_be_read(store: Path, monkeypatch: pytest.MonkeyPatch):
    # Opened for reading only, since file modes do not bind the administrator.
    def read_only(name: str, **options):
        return sqlite3_connect(name.replace("mode=rw", "mode=ro"), **options)

    sqlite3_connect = sqlite3.connect
    monkeypatch.setattr(metadata_store.sqlite3, "connect", read_only)
    with pytest.raises(MetadataStoreError, match=r"can't be written to .*readonly"):
        metadata_store.check(store)


def test_a_full_disk_is_not_called_damage():
    detail = "Error when executing query: database or disk is full query: CREATE TABLE `Type`"
    message = str(metadata_store.described(Path("/out/tfx/metadata.sqlite"), detail))
    assert message == (
        "the metadata store /out/tfx/metadata.sqlite can't be written to (database or disk is "
        "full); free some space, or set another --output"
    )


def test_an_empty_store_is_new_and_a_whole_one_is_not(tmp_path: Path, store: Path):
    assert not metadata_store.is_new(store)
    store.write_bytes(b"")
    assert metadata_store.is_new(store)
    store.unlink()
    assert metadata_store.is_new(store)
