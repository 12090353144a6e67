"""A backup, made and restored by the commands of docs/runbook.md, is as good as what was lost."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import FinishedRun, run_pipeline

from components import artifact_files
from components.registry import VersionRecord, open_registry
from components.schema_gen import baseline


def as_version(number: int) -> VersionRecord:
    return VersionRecord(version=number)


def pack(folder: Path, archive: Path, *options: str) -> None:
    command = ["tar", "--format", "posix", *options, "-C", folder, "-czf", archive, "."]
    subprocess.run(command, check=True)


def unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-C", folder, "-xzf", archive], check=True)


@pytest.fixture
def lost(finished: FinishedRun, tmp_path: Path) -> Iterator[FinishedRun]:
    """The finished run, whose folder is gone during the test; its backup lies in `tmp_path`."""
    kept = finished.output.with_name("kept")
    pack(finished.output, tmp_path / "runs.tar.gz")
    pack(finished.output / "registry", tmp_path / "registry.tar.gz", "--exclude", "./.*")
    database = finished.output / "tfx" / "metadata.sqlite"
    with (
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(tmp_path / "metadata.sqlite")) as target,
    ):
        source.backup(target)
    finished.output.rename(kept)
    yield finished
    shutil.rmtree(finished.output, ignore_errors=True)
    kept.rename(finished.output)


def test_a_run_continues_from_a_restored_folder_and_metadata(
    lost: FinishedRun, small_settings: Path, tmp_path: Path
):
    unpack(tmp_path / "runs.tar.gz", lost.output)
    # Not the archive's: one that was copied while a run was in progress would be this one.
    shutil.copy(tmp_path / "metadata.sqlite", lost.output / "tfx" / "metadata.sqlite")
    second = run_pipeline("--settings", small_settings, output=lost.output)
    for component in ("ImageExampleGen", "ImbalanceSampler", "Trainer", "Calibrator", "Evaluator"):
        assert f"{component}: cached, unchanged" in second.outcome.err
    assert second.result["metrics"] == lost.result["metrics"]
    assert open_registry(lost.output / "registry").versions() == [1]


def test_a_restored_registry_has_the_models_and_the_schema_and_takes_the_next_push(
    lost: FinishedRun, tmp_path: Path
):
    original, restored = lost.output.with_name("kept") / "registry", tmp_path / "registry"
    unpack(tmp_path / "registry.tar.gz", restored)
    assert open_registry(restored).versions() == open_registry(original).versions() == [1]
    assert artifact_files.digest(str(restored / "1")) == artifact_files.digest(str(original / "1"))
    assert baseline.digest(str(restored)) == baseline.digest(str(original)) != ""
    # The same model again is recognized; another one gets the next number; the first is served
    # again by a rollback.
    registry = open_registry(restored)
    assert not registry.push(original / "1", as_version).is_new
    other = tmp_path / "other"
    shutil.copytree(original / "1", other)
    (other / "note.txt").write_text("another model")
    assert registry.push(other, as_version).version == registry.serving() == 2
    assert registry.rollback() == registry.serving() == 1
