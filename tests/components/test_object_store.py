from collections.abc import Iterator

import numpy as np
import pytest
from stores_on_localhost import amazon, google
from tfx.dsl.io import fileio

from components import artifact_files, example_files, object_store
from components.imbalance_sampler import ledger
from components.imbalance_sampler.rows import PLACED
from components.trainer.checkpoint import Checkpoint, TrainingState


@pytest.fixture(scope="module", params=["s3", "minio", "gs"])
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket's URI; sets the environment variables that the clients need to find it."""
    kind = google if request.param == "gs" else amazon
    object_store.register()
    with kind("artifacts") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield f"{request.param}://artifacts/root"


def write(path: str, text: str) -> None:
    with fileio.open(path, "w") as file:
        file.write(text)


def test_files_are_written_read_listed_walked_and_removed(root: str):
    folder = f"{root}/files"
    assert not fileio.exists(folder)
    write(f"{folder}/a.txt", "ä")
    write(f"{folder}/below/b.txt", "b")
    with fileio.open(f"{folder}/a.txt", "r") as file:
        assert file.read() == "ä"
    assert fileio.listdir(folder) == ["a.txt", "below"]
    assert fileio.isdir(folder)
    assert not fileio.isdir(f"{folder}/a.txt")
    assert fileio.glob(f"{folder}/*.txt") == [f"{folder}/a.txt"]
    assert list(fileio.walk(folder)) == [
        (folder, ["below"], ["a.txt"]),
        (f"{folder}/below", [], ["b.txt"]),
    ]
    assert fileio.stat(f"{folder}/a.txt").size_in_bytes == 2
    fileio.remove(f"{folder}/a.txt")
    fileio.rmtree(folder)
    assert not fileio.exists(folder)


def test_a_rename_replaces_a_file_only_if_overwrite_is_set(root: str):
    write(f"{root}/names/new", "new")
    write(f"{root}/names/old", "old")
    with pytest.raises(OSError, match="already exists"):
        fileio.rename(f"{root}/names/new", f"{root}/names/old")
    fileio.rename(f"{root}/names/new", f"{root}/names/old", overwrite=True)
    assert fileio.listdir(f"{root}/names") == ["old"]
    with fileio.open(f"{root}/names/old", "r") as file:
        assert file.read() == "new"


def test_a_missing_path_raises_not_found(root: str):
    for act in (fileio.listdir, fileio.rmtree, fileio.stat):
        with pytest.raises(fileio.NotFoundError):
            act(f"{root}/nothing")
    with pytest.raises(fileio.NotFoundError):
        fileio.open(f"{root}/nothing", "rb")


def test_an_interrupted_training_is_restored(root: str):
    folder = f"{root}/checkpoints/1"
    assert Checkpoint(folder).load() == TrainingState()
    weights = [np.arange(6.0).reshape(2, 3)]
    Checkpoint(folder).save(TrainingState(epochs=[{"epoch": 1}], variables=weights))
    found = Checkpoint(folder).load()
    assert found.epochs == [{"epoch": 1}]
    np.testing.assert_array_equal(found.variables, weights)
    Checkpoint(folder).clear()
    assert not fileio.exists(folder)


def test_a_damaged_checkpoint_is_removed_with_a_warning(root: str, caplog):
    folder = f"{root}/checkpoints/2"
    Checkpoint(folder).save(TrainingState(epochs=[{"epoch": 1}], variables=[np.arange(6.0)]))
    with fileio.open(f"{folder}/state.npz", "rb") as file:
        content = file.read()
    for damaged in (content[:1], content[: len(content) // 2], content[:99] + b"?" + content[100:]):
        caplog.clear()
        with fileio.open(f"{folder}/state.npz", "wb") as file:
            file.write(damaged)
        assert Checkpoint(folder).load() == TrainingState()
        assert f"{folder}/state.npz is damaged" in caplog.text
        assert not fileio.exists(folder)


def test_the_files_of_an_artifact_are_checked(root: str):
    uri, name = f"{root}/examples/1", f"Split-all/{example_files.shard_name(0, 1)}"
    write(f"{uri}/{name}", "records")
    entry = artifact_files.describe(uri, name, 1)
    artifact_files.write_list(uri, [entry], check_digests=True)
    (shard,) = example_files.split_shards(uri, "all")
    shard.check_digest()
    write(f"{uri}/{name}", "changed")
    with pytest.raises(
        artifact_files.DamagedArtifactError, match=f"{uri}/{name} .*must have the SHA-256"
    ):
        shard.check_digest()
    fileio.remove(f"{uri}/{name}")
    with pytest.raises(artifact_files.DamagedArtifactError, match=f"{name} is missing"):
        example_files.split_shards(uri, "all")


def test_all_files_of_an_artifact_are_listed_and_checked(root: str):
    uri = f"{root}/model/1"
    folder = f"{uri}/Format-Serving"
    for name in ("saved_model.pb", "assets/rules.json"):
        write(f"{folder}/{name}", "content")
    artifact_files.list_all(uri)
    assert artifact_files.folders(artifact_files.listed_folder(uri)) == ["assets"]
    artifact_files.check(folder)
    write(f"{folder}/assets/rules.json", "changed")
    with pytest.raises(
        artifact_files.DamagedArtifactError, match=r"assets/rules.json must have the SHA-256"
    ):
        artifact_files.check(folder)
    fileio.remove(f"{folder}/assets/rules.json")
    assert not artifact_files.is_intact(folder, digests=False)


def test_a_ledger_is_updated_and_one_that_has_changed_is_not_overwritten(root: str):
    path = f"{root}/of_a_test/{root[:2]}.ledger"
    terms = ledger.Terms(42, "", (("test", "0", "1"),), 4)
    one, two = (
        ledger.Ledger(terms, np.array([(letter * 16, 1, True, 2)], PLACED))
        for letter in (b"a", b"b")
    )
    with ledger.locked(path):
        assert ledger.read(path).digest == ""
        ledger.write(one, path, replacing=ledger.EMPTY)
    assert ledger.read(path).digest == one.digest
    with pytest.raises(ledger.LedgerError, match="was changed by another run"):
        ledger.write(two, path, replacing=ledger.EMPTY)
    ledger.write(two, path, replacing=one)
    assert ledger.read(path).digest == two.digest


def test_a_file_whose_writing_fails_is_not_stored(root: str):
    def fail(mode: str) -> None:
        with fileio.open(f"{root}/half", mode) as file:
            file.write("half" if mode == "w" else b"half")
            raise RuntimeError

    for mode in ("w", "wb"):
        with pytest.raises(RuntimeError):
            fail(mode)
    assert not fileio.exists(f"{root}/half")


def test_an_empty_file_is_stored(root: str):
    write(f"{root}/empty", "")
    assert fileio.stat(f"{root}/empty").size_in_bytes == 0
