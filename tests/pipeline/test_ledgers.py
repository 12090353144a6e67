"""Stable draws in consecutive runs of TFX's local runner: which of them may be cached."""

import re
from pathlib import Path

import pytest
from listed import list_files

from pipeline import metadata_store
from pipeline.ledgers import ledger_places
from pipeline.settings import Settings, parse

TREE = {
    "name": "cats-vs-dogs",
    "data": {"source": "photos", "positive_class": "dogs"},
    "sampler": {
        "assignment": "stable",
        "splits": {name: {"cats": 0.3, "dogs": 0.3} for name in ("train", "val", "test")},
    },
}


def settings(**sampler) -> Settings:
    return parse({**TREE, "sampler": {**TREE["sampler"], **sampler}}, origin="test")


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "tfx").mkdir()
    return tmp_path


def places(output: Path, **sampler):
    return ledger_places(settings(**sampler), output, metadata_store.connection(output))


def test_the_ledger_is_in_the_output_folder_and_has_the_pipelines_name(output):
    assert places(output)["ledger"] == str(output / "ledgers" / "cats-vs-dogs.ledger")


def test_the_path_of_the_ledger_can_be_set(output, monkeypatch):
    monkeypatch.chdir(output)
    assert places(output, ledger="here/a.ledger")["ledger"] == str(output / "here/a.ledger")
    assert places(output, ledger="~/a.ledger")["ledger"] == str(Path.home() / "a.ledger")


def test_an_exact_draw_has_no_ledger(output):
    assert places(output, assignment="exact") == {}


def test_a_damaged_ledger_is_refused_before_an_image_is_read(output):
    path = output / "ledgers" / "cats-vs-dogs.ledger"
    path.parent.mkdir()
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=re.escape(f"the ledger {path} is damaged")):
        places(output)


@pytest.fixture
def run_draw(output):
    """Returns a function that runs only the sampler and returns new draws; none if cached."""

    def run(source: Path, **sampler) -> list[Path]:
        from tfx.dsl.components.common.importer import Importer
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner
        from tfx.orchestration.pipeline import Pipeline
        from tfx.types import standard_artifacts

        from pipeline.dag import Places
        from pipeline.dag import sampler as component

        images = Importer(str(source), standard_artifacts.Examples).with_id("Images")
        made = output / "root" / "ImbalanceSampler" / "sampling"
        before = set(made.glob("*"))
        loaded = settings(**sampler)
        connection = metadata_store.connection(output)
        where = Places(
            pipeline_root=str(output / "root"),
            registry="",
            checkpoints="",
            data_version="",
            **ledger_places(loaded, output, connection),
        )
        pipeline = Pipeline(
            pipeline_name=loaded.name,
            pipeline_root=where.pipeline_root,
            components=[images, component(loaded, images.outputs["result"], where, None)],
            enable_cache=True,
            metadata_connection_config=connection,
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
        )
        LocalDagRunner().run(pipeline)
        return sorted(set(made.glob("*")) - before)

    return run


def test_a_draw_is_reused_only_if_its_ledger_is_unchanged(output, run_draw):
    one, two = output / "one", output / "two"
    write_images(one, 60)
    write_images(two, 80)
    path = output / "ledgers" / "cats-vs-dogs.ledger"

    assert run_draw(one)
    first = path.read_bytes()
    assert not run_draw(one), "nothing has changed"
    assert run_draw(two)
    second = path.read_bytes()
    assert not run_draw(one), "only other images were added to the ledger"
    assert not run_draw(two)

    path.write_bytes(first)
    assert run_draw(two), "images of this draw are missing in the ledger"
    assert path.read_bytes() == second
    path.unlink()
    assert run_draw(two), "the ledger was removed"
    assert not run_draw(two)


def write_images(folder: Path, count: int) -> None:
    import tensorflow as tf

    from components.example_files import shard_name, split_dir

    target = Path(split_dir(str(folder), "all"))
    target.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(target / shard_name(0, 1))) as writer:
        for number in range(count):
            dog = number % 3 == 0
            example = tf.train.Example()
            texts = {"image_id": f"{number}", "class_name": "dogs" if dog else "cats"}
            for name, text in texts.items():
                example.features.feature[name].bytes_list.value.append(text.encode())
            example.features.feature["label"].int64_list.value.append(int(dog))
            writer.write(example.SerializeToString())
    list_files(folder)
