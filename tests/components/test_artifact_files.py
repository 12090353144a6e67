"""An artifact's list of files, and what an executor does with it."""

import json
import shutil
from pathlib import Path

import pytest
from damage import DAMAGES, empty, flip_a_bit
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts
from typing_extensions import override

from components import artifact_files
from components.artifact_files import DamagedArtifactError
from components.checked_artifacts import checked


def write(folder: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def folder(tmp_path) -> str:
    """Two files, one in a folder below, and their list."""
    artifact_files.list_all(
        str(write(tmp_path / "artifact", {"a": "some text", "below/b": "more"}))
    )
    return str(tmp_path / "artifact")


def test_the_list_has_all_files_at_any_depth_except_itself(folder):
    artifact_files.list_all(folder)
    listed = json.loads(Path(folder, "files.json").read_text())["files"]
    assert {name: entry["bytes"] for name, entry in listed.items()} == {"a": 9, "below/b": 4}
    artifact_files.check(folder)


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
@pytest.mark.parametrize("name", ["a", "below/b"])
def test_every_damage_is_named_with_what_to_do(folder, name, damage):
    damage(Path(folder, name))
    with pytest.raises(DamagedArtifactError, match=rf"{folder} is damaged: {name} .*--no-cache"):
        artifact_files.check(folder)
    assert not artifact_files.is_intact(folder)


def test_sizes_are_checked_without_the_digests(folder):
    flip_a_bit(Path(folder, "a"))
    assert artifact_files.is_intact(folder, digests=False)
    empty(Path(folder, "a"))
    assert not artifact_files.is_intact(folder, digests=False)


def test_digests_are_checked_on_request_if_readers_do_not(folder):
    entries = [artifact_files.describe(folder, "a")]
    artifact_files.write_list(folder, entries, check_digests=False)
    flip_a_bit(Path(folder, "a"))
    assert artifact_files.is_intact(folder)
    assert not artifact_files.is_intact(folder, digests=True)


def test_files_may_be_added(folder):
    write(Path(folder), {"assets.extra/warmup": ""})
    assert artifact_files.is_intact(folder)


def test_a_folder_without_a_list_is_damaged(folder):
    Path(folder, "files.json").unlink()
    with pytest.raises(DamagedArtifactError, match=r"its list of files, files\.json, is missing"):
        artifact_files.check(folder)


class Copier(BaseExecutor):
    """Copies the files of its input."""

    @checked
    @override
    def Do(self, input_dict, output_dict, exec_properties):
        (source,), (target,) = input_dict["model"], output_dict["copy"]
        for file in Path(source.uri, "Format-Serving").iterdir():
            if file.name != "files.json":
                write(Path(target.uri), {file.name: file.read_text()})


@pytest.fixture
def run(tmp_path):
    """Runs the executor on a Model; returns the two artifacts' folders."""
    source = write(tmp_path / "model", {"Format-Serving/saved_model.pb": "graph"})
    artifact_files.list_all(str(source))

    def run() -> tuple[Path, Path]:
        model, copy = standard_artifacts.Model(), standard_artifacts.ModelRun()
        model.uri, copy.uri = str(source), str(tmp_path / "copy")
        Copier().Do({"model": [model]}, {"copy": [copy]}, {})
        return source, tmp_path / "copy"

    return run


def test_an_executor_lists_its_outputs(run):
    _, copy = run()
    listed = json.loads((copy / "files.json").read_text())["files"]
    assert list(listed) == ["saved_model.pb"]
    assert artifact_files.is_intact(str(copy))


def test_a_model_is_listed_in_the_folder_that_is_pushed(run):
    source, _ = run()
    assert (source / "Format-Serving" / "files.json").is_file()
    assert not (source / "files.json").exists()


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
def test_an_executor_refuses_a_damaged_input(run, damage):
    source, copy = run()
    shutil.rmtree(copy)
    damage(source / "Format-Serving" / "saved_model.pb")
    with pytest.raises(DamagedArtifactError, match=r"Format-Serving is damaged: saved_model\.pb"):
        run()
    assert not copy.exists()


def test_the_list_of_an_earlier_attempt_is_replaced(run, tmp_path):
    write(tmp_path / "copy", {"files.json": '{"check_digests": true, "files": {}}'})
    _, copy = run()
    assert list(json.loads((copy / "files.json").read_text())["files"]) == ["saved_model.pb"]
