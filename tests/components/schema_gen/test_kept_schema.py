"""The schema that is kept in a registry."""

from pathlib import Path

import pytest
from damage import flip_a_bit
from image_statistics import statistics_artifact
from stores_on_localhost import amazon, google
from tfx.types import Channel, standard_artifacts

from components import artifact_files, object_store
from components.registry import PushError, open_registry
from components.schema_gen import baseline, curation
from components.schema_gen.baseline import SchemaError
from components.schema_gen.component import SchemaGen
from components.stores import store_of


@pytest.fixture
def folder(tmp_path):
    """A registry with one version."""
    (tmp_path / "registry" / "1").mkdir(parents=True)
    (tmp_path / "registry" / "1" / "saved_model.pb").touch()
    return tmp_path / "registry"


@pytest.fixture
def keep(folder, tmp_path, first_data):
    """Keeps the first data's schema in the registry; returns whether it was kept."""
    source = statistics_artifact(first_data, tmp_path / "statistics")
    baseline.write_schema(curation.curate(first_data), str(tmp_path / "schema"))
    return lambda: baseline.keep(str(folder), str(tmp_path / "schema"), source.uri, version=1)


def test_a_kept_schema_is_read_as_written(folder, keep, first_data):
    assert baseline.read_kept(str(folder)) is None
    assert keep()
    kept = baseline.read_kept(str(folder))
    assert kept.schema == curation.curate(first_data)
    assert kept.statistics == first_data
    assert (kept.origin["version"], kept.origin["images"]) == (1, 1815)
    assert kept.origin["folder"] == str(folder / "schema")


def test_a_kept_schema_is_no_version_and_leaves_no_partial_copy(folder, keep):
    keep()
    assert open_registry(folder).versions() == [1]
    assert {path.name for path in folder.iterdir()} == {"1", "schema", ".lock"}


def test_a_kept_schema_is_never_overwritten(folder, keep):
    keep()
    file = folder / "schema" / "schema.pbtxt"
    file.write_text("# mine\n" + file.read_text())
    before = artifact_files.digest(str(folder / "schema"))
    assert not keep()
    assert artifact_files.digest(str(folder / "schema")) == before


def test_of_two_machines_that_keep_a_schema_at_once_the_first_one_wins(folder, keep, monkeypatch):
    rename = Path.rename

    def rename_late(path, target):
        (folder / "schema").mkdir()
        (folder / "schema" / "schema.pbtxt").write_text("the other machine's")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    assert not keep()
    assert (folder / "schema" / "schema.pbtxt").read_text() == "the other machine's"
    assert {path.name for path in folder.iterdir()} == {"1", "schema", ".lock"}


def test_a_registry_that_cannot_be_written_is_named(tmp_path, keep, folder):
    (folder / ".lock").mkdir()
    with pytest.raises(PushError, match=r"can't write schema to registry .*registry"):
        keep()
    assert not (folder / "schema").exists()


def test_the_digest_changes_with_an_edit_and_is_empty_without_a_kept_schema(folder, keep):
    assert baseline.digest(str(folder)) == baseline.digest(str(folder / "nowhere")) == ""
    keep()
    first = baseline.digest(str(folder))
    assert first == baseline.digest(str(folder)) != ""
    file = folder / "schema" / "schema.pbtxt"
    file.write_text(file.read_text().replace("max: 800", "max: 900", 1))
    assert baseline.digest(str(folder)) not in {"", first}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "schema.pbtxt",
            "feature { nam: 3 }",
            r"schema.pbtxt is not a valid schema, at line:column 1:11",
        ),
        ("schema.pbtxt", "", r"schema.pbtxt is not a valid schema, which must have a feature"),
        ("schema.pbtxt", None, r"incomplete; restore schema.pbtxt, or delete the folder"),
        ("statistics.pb", None, r"incomplete; restore statistics.pb, or"),
        ("kept.json", "{", r"can't be read: .*or delete the folder to start over"),
        ("files.json", "", r"can't be read: .*restore statistics.pb, kept.json and files.json, or"),
        ("statistics.pb", "no proto", r"can't be read: .*or delete the folder to start over"),
    ],
)
def test_a_kept_schema_that_cannot_be_read_is_named_with_advice(
    folder, keep, name, content, message
):
    keep()
    (folder / "schema" / name).unlink()
    if content is not None:
        (folder / "schema" / name).write_text(content)
    with pytest.raises(SchemaError, match=message):
        baseline.digest(str(folder))


@pytest.mark.parametrize("name", ["statistics.pb", "kept.json"])
def test_a_changed_bit_beside_the_schema_is_named_with_advice(folder, keep, name):
    keep()
    flip_a_bit(folder / "schema" / name)
    message = rf"can't be read: {name} must have the SHA-256 .*or delete the folder to start over"
    with pytest.raises(SchemaError, match=message):
        baseline.digest(str(folder))


def test_a_kept_schema_of_a_release_without_the_list_is_read(folder, keep):
    keep()
    (folder / "schema" / "files.json").unlink()
    assert baseline.digest(str(folder))


@pytest.mark.parametrize(("scheme", "server"), [("s3", amazon), ("gs", google)])
def test_a_schema_is_kept_in_a_bucket_once_all_its_files_are_there(
    scheme, server, tmp_path, first_data, monkeypatch
):
    source = statistics_artifact(first_data, tmp_path / "statistics")
    baseline.write_schema(curation.curate(first_data), str(tmp_path / "schema"))
    root, object_uri = f"{scheme}://models/dogs", f"{scheme}://models/dogs/schema/statistics.pb"
    object_store.register()
    with server("models") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert baseline.read_kept(root) is None
        store_of(root).write(object_uri, b"of a push that is in progress, or was killed")
        assert baseline.read_kept(root) is None
        assert not baseline.keep(root, str(tmp_path / "schema"), source.uri, version=1)
        store_of(root).delete([object_uri])
        assert baseline.keep(root, str(tmp_path / "schema"), source.uri, version=1)
        assert not baseline.keep(root, str(tmp_path / "schema"), source.uri, version=2)
        assert baseline.read_kept(root).schema == curation.curate(first_data)
        assert baseline.read_kept(root).origin["version"] == 1
        assert len(baseline.digest(root)) == 64


def test_the_components_parameters_are_text():
    channel = Channel(type=standard_artifacts.ExampleStatistics)
    found = SchemaGen(channel, registry="models", kept_schema="abc").exec_properties
    assert found == {"registry": "models", "kept_schema": "abc"}
