"""Outputs are reused only if files, registry, images, code and weights are unchanged."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from damage import flip_a_bit
from listed import list_files
from PIL import Image
from stores_on_localhost import amazon
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components import artifact_files, example_files, object_store
from components.evaluator.blessing import BLESSED_FILE
from components.pusher.component import Pusher
from components.registry import open_registry
from components.schema_gen.baseline import ORIGIN_FILE
from components.stores import store_of
from pipeline import local, metadata_store
from pipeline.dag import Places, build, example_gen
from pipeline.settings import Settings, parse
from pipeline.study.dag import build as build_study
from pipeline.study.settings import load_study

CODE = "the code of one version"


@component
def model_maker(model: OutputArtifact[standard_artifacts.Model]):
    folder = Path(model.uri, "Format-Serving")
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("graph")
    artifact_files.list_all(model.uri)


@component
def judge(
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
):
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    Path(blessing.uri, BLESSED_FILE).touch()
    Path(blessing.uri, "verdict.json").write_text('{"blessed": true, "reason": "good"}')
    artifact_files.list_all(blessing.uri)


@component
def checker(
    schema: OutputArtifact[standard_artifacts.Schema],
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
):
    for artifact in (schema, statistics):
        Path(artifact.uri).mkdir(parents=True, exist_ok=True)
        # Marks the schema as a kept one, so that the Pusher does not save it.
        Path(artifact.uri, ORIGIN_FILE).touch()
        artifact_files.list_all(artifact.uri)


@component
def failing(model: InputArtifact[standard_artifacts.Model]):
    raise ValueError("boom")


def launch(output: Path, nodes: list[BaseNode]) -> list[str]:
    """Runs components in an output folder and returns those that were not cached."""
    (output / "tfx").mkdir(parents=True, exist_ok=True)
    screen = io.StringIO()
    dag = Pipeline(
        pipeline_name="small",
        pipeline_root=str(output / "tfx" / "artifacts"),
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_store.connection(output),
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
    )
    local._launch(dag, output, screen)
    print(screen.getvalue())
    return [node.id for node in nodes if f"{node.id}: done" in screen.getvalue()]


@pytest.fixture
def push(tmp_path: Path) -> Callable[[], list[str]]:
    """Makes, evaluates and pushes a model, with cache; returns the components that ran."""
    return pushing(tmp_path, str(tmp_path / "registry"))


def pushing(tmp_path: Path, registry: str) -> Callable[[], list[str]]:
    """Makes and pushes a model into a registry, twice: the second time all of it is cached."""

    def run() -> list[str]:
        maker = model_maker()
        judged = judge(model=maker.outputs["model"])
        checked = checker()
        pusher = Pusher(
            model=maker.outputs["model"],
            blessing=judged.outputs["blessing"],
            schema=checked.outputs["schema"],
            statistics=checked.outputs["statistics"],
            kept_schema="its digest",
            registry=registry,
        )
        return launch(tmp_path / "runs", [maker, judged, checked, pusher])

    assert run() == ["model_maker", "judge", "checker", "Pusher"]
    assert run() == []
    return run


def test_a_version_that_is_gone_from_a_bucket_is_pushed_again(tmp_path, monkeypatch):
    object_store.register()
    with amazon("models") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        root = "s3://models/dogs"
        push, registry = pushing(tmp_path, root), open_registry(root)
        store_of(root).delete([f"{root}/1/saved_model.pb"])
        assert push() == ["Pusher"]
        assert (registry.versions(), registry.serving()) == ([1, 2], 2)
        assert push() == []
        store_of(root).delete(found.path for found in store_of(root).below(f"{root}/"))
        assert push() == ["Pusher"]
        assert (registry.versions(), registry.serving()) == ([1], 1)


def pushed_version(output: Path) -> str:
    records = (output / "tfx" / "artifacts" / "Pusher" / "pushed_model").glob("*/pushed.json")
    newest = max(records, key=lambda path: int(path.parent.name))
    return json.loads(newest.read_text())["pushed_version"]


def test_the_model_is_pushed_again_after_the_registry_was_deleted(push, tmp_path):
    shutil.rmtree(tmp_path / "registry")
    assert push() == ["Pusher"]
    assert (tmp_path / "registry" / "1" / "saved_model.pb").is_file()
    assert push() == []


def test_a_replaced_version_is_pushed_again_as_a_new_version(push, tmp_path):
    (tmp_path / "registry" / "1" / "saved_model.pb").write_text("other")
    assert push() == ["Pusher"]
    assert pushed_version(tmp_path / "runs") == "2"
    assert (tmp_path / "registry" / "2" / "saved_model.pb").read_text() == "graph"


def test_files_added_to_a_version_are_ignored(push, tmp_path):
    # Such as warm-up requests for TensorFlow Serving.
    (tmp_path / "registry" / "1" / "assets.extra").mkdir()
    (tmp_path / "registry" / "1" / "assets.extra" / "warmup").touch()
    assert push() == []


def test_the_record_is_ignored_after_the_metadata_store_was_deleted(push, tmp_path):
    # Ids start over, and with them the paths of outputs.
    shutil.rmtree(tmp_path / "runs" / "tfx" / "artifacts")
    (tmp_path / "runs" / "tfx" / "metadata.sqlite").unlink()
    assert push() == ["model_maker", "judge", "checker", "Pusher"]
    assert push() == []


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        lambda folder: (folder / "Format-Serving" / "saved_model.pb").unlink(),
        lambda folder: (folder / "Format-Serving" / "saved_model.pb").write_text("gra"),
        lambda folder: flip_a_bit(folder / "Format-Serving" / "saved_model.pb"),
        lambda folder: flip_a_bit_silently(folder / "Format-Serving" / "saved_model.pb"),
        lambda folder: (folder / "Format-Serving" / "files.json").unlink(),
    ],
)
def test_a_damaged_output_and_those_that_depend_on_it_are_made_again(push, tmp_path, damage):
    (model,) = outputs_of(tmp_path / "runs", "model_maker")
    damage(model)
    assert push() == ["model_maker", "judge", "Pusher"]
    assert push() == []
    assert not model.exists()


def outputs_of(output: Path, maker: str) -> list[Path]:
    return list((output / "tfx" / "artifacts" / maker).glob("[!.]*/*"))


def flip_a_bit_silently(path: Path) -> None:
    """As a failing disk does: without another time of modification."""
    status = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_bit])
def test_without_a_record_outputs_are_compared_with_their_lists(push, tmp_path, damage):
    # As after a run that was killed.
    (tmp_path / "runs" / "tfx" / "outputs.json").unlink()
    (model,) = outputs_of(tmp_path / "runs", "model_maker")
    damage(model / "Format-Serving" / "saved_model.pb")
    assert push() == ["model_maker", "judge", "Pusher"]
    assert push() == []


def test_a_copy_of_the_outputs_with_other_times_is_not_made_again(push, tmp_path):
    for path in (tmp_path / "runs" / "tfx" / "artifacts").rglob("*"):
        os.utime(path)
    assert push() == []


@pytest.mark.parametrize("name", ["saved_model.pb", "files.json"])
def test_a_bit_that_changes_in_the_registry_makes_the_model_be_pushed_again(push, tmp_path, name):
    flip_a_bit_silently(tmp_path / "registry" / "1" / name)
    assert push() == ["Pusher"]
    assert (tmp_path / "registry" / "2" / "saved_model.pb").read_text() == "graph"
    assert push() == []


@pytest.mark.parametrize("content", ["", '{"half": ', "[]", '{"uri 1": {"files": 3}}', "\0"])
def test_a_damaged_record_is_ignored_with_a_note_and_replaced(push, tmp_path, capsys, content):
    record = tmp_path / "runs" / "tfx" / "outputs.json"
    record.write_text(content)
    assert push() == []
    assert f"{record} is damaged or of an earlier release" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "registry")
    assert push() == ["Pusher"]
    assert "is damaged" not in capsys.readouterr().out


@component
def examples_maker(examples: OutputArtifact[standard_artifacts.Examples]):
    for shard in range(2):
        path = Path(examples.uri, "Split-all", f"data_tfrecord-0000{shard}-of-00002")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(b"record")
    Path(examples.uri, "slice_columns.json").write_text("{}")
    list_files(examples.uri)


def test_examples_that_lost_a_shard_are_made_again_also_after_a_run_that_was_killed(tmp_path):
    assert launch(tmp_path, [examples_maker()]) == ["examples_maker"]
    next(tmp_path.rglob("data_tfrecord-00001-of-00002")).unlink()
    (tmp_path / "tfx" / "outputs.json").unlink()
    assert launch(tmp_path, [examples_maker()]) == ["examples_maker"]
    (tmp_path / "tfx" / "outputs.json").unlink()
    assert launch(tmp_path, [examples_maker()]) == []


@pytest.mark.parametrize("name", ["files.json", "slice_columns.json"])
def test_a_bit_that_changes_beside_the_shards_makes_the_examples_be_made_again(tmp_path, name):
    launch(tmp_path, [examples_maker()])
    (examples,) = outputs_of(tmp_path, "examples_maker")
    path, status = examples / name, (examples / name).stat()
    # Not a digest, which any comparison with the list would find.
    path.write_text(path.read_text().replace('"records": 1', '"records": 3').replace("{}", "[]"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert launch(tmp_path, [examples_maker()]) == ["examples_maker"]
    assert launch(tmp_path, [examples_maker()]) == []


def test_an_output_whose_properties_change_in_the_metadata_store_is_made_again(push, tmp_path):
    store = metadata_store.connect(tmp_path / "runs")
    (record,) = store.get_artifacts_by_type("PushedModel")
    record.custom_properties["pushed_version"].string_value = "3"
    store.put_artifacts([record])
    assert push() == ["Pusher"]
    assert push() == []


def test_outputs_of_a_release_without_lists_are_neither_compared_nor_deleted(push, tmp_path):
    (tmp_path / "runs" / "tfx" / "outputs.json").write_text(
        '{"uri 1": {"files": "", "pushed": []}}'
    )
    for path in (tmp_path / "runs" / "tfx" / "artifacts").rglob("files.json"):
        path.unlink()
    (model,) = outputs_of(tmp_path / "runs", "model_maker")
    for _ in range(2):
        assert push() == []
    assert model.is_dir()


@component
def reader(examples: InputArtifact[standard_artifacts.Examples], size: Parameter[int]):
    for shard in example_files.split_shards(examples.uri, "all"):
        list(example_files.record_batches(shard.path, size))


def test_what_a_reader_finds_damaged_is_made_again_by_the_next_run(tmp_path):
    def run(size: int) -> list[str]:
        maker = examples_maker()
        return launch(tmp_path, [maker, reader(examples=maker.outputs["examples"], size=size)])

    run(1)
    # Without `data.check_digests`, a shard is only checked record by record, by its readers.
    (examples,) = outputs_of(tmp_path, "examples_maker")
    flip_a_bit_silently(next(examples.rglob("data_tfrecord-00001-of-00002")))
    with pytest.raises(Exception, match="data_tfrecord-00001-of-00002 is damaged"):
        run(2)
    assert run(2) == ["examples_maker", "reader"]


def test_outputs_of_a_failed_run_are_recorded(tmp_path):
    def run() -> None:
        maker = model_maker()
        launch(tmp_path, [maker, failing(model=maker.outputs["model"])])

    for _ in range(2):
        with pytest.raises(Exception, match="boom"):
            run()
    folder = tmp_path / "tfx" / "artifacts" / "model_maker" / "model"
    assert len(list(folder.iterdir())) == 1
    next(folder.rglob("saved_model.pb")).write_text("gra")
    with pytest.raises(Exception, match="boom"):
        run()
    assert len(list(folder.iterdir())) == 2


TREE = {
    "name": "small",
    "data": {"source": "photos", "positive_class": "dogs", "max_bad_fraction": 1.0},
    "sampler": {
        "splits": {name: {"cats": 1, "dogs": 1} for name in ("train", "val", "test")},
    },
}


def settings(**changes) -> Settings:
    return parse({**TREE, **changes}, origin="test")


def places(root: Path, code_version: str = CODE) -> Places:
    return Places(
        pipeline_root=str(root / "artifacts"),
        registry=str(root / "registry"),
        checkpoints=str(root / "checkpoints"),
        data_version="1",
        code_version=code_version,
    )


def test_only_outputs_of_the_same_code_are_reused(tmp_path):
    for class_name in ("cats", "dogs"):
        (tmp_path / "photos" / class_name).mkdir(parents=True)
        shade = (len(class_name) * 20, ord(class_name[0]), 0)
        Image.new("RGB", (8, 8), shade).save(tmp_path / "photos" / class_name / "1.png")
    given = settings(data={**TREE["data"], "source": str(tmp_path / "photos")})

    def run(code_version: str) -> list[str]:
        node = example_gen(given, given.beam, places(tmp_path, code_version), None)
        return launch(tmp_path / "runs", [node])

    assert run("old") == ["ImageExampleGen"]
    assert run("new") == ["ImageExampleGen"]
    assert run("new") == []
    assert run("old") == []


def main_dag(root: Path) -> Pipeline:
    return build(settings(), places(root))


def study_dag(root: Path) -> Pipeline:
    return build_study(load_study("training", None), places(root))


@pytest.mark.parametrize("dag", [main_dag, study_dag])
def test_components_without_inputs_have_the_code_version_in_their_cache_key(dag, tmp_path):
    for node in dag(tmp_path).components:
        assert node.inputs or node.exec_properties["code_version"] == CODE, node.id


def weights_versions(pipeline: Pipeline) -> dict[str, str]:
    """The digest of the weights in the cache key of each component that loads weights."""
    found = {}
    for node in pipeline.components:
        config = json.loads(node.exec_properties.get("custom_config") or "{}")
        version = {**config, **node.exec_properties}.get("weights_version")
        if version is not None:
            found[node.id] = version
    return found


def test_changed_weights_under_the_same_path_change_every_cache_key(tmp_path):
    path = tmp_path / "xception.weights.h5"

    def versions(content: bytes) -> dict[str, str]:
        path.write_bytes(content)
        own = ["trainer.model=xception", f"trainer.weights={path}"]
        main = build(
            settings(trainer={"model": "xception", "weights": str(path)}), places(tmp_path)
        )
        study = build_study(load_study("training", None, own), places(tmp_path))
        return {**weights_versions(main), **weights_versions(study)}

    first, second = versions(b"one"), versions(b"other")
    assert {name.partition(".")[0] for name in first} == {"Trainer", "FeatureExtractor"}
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] != second[name] != "", name
