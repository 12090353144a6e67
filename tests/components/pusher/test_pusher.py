import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from damage import DAMAGES, flip_a_bit
from listed import listed
from stores_on_localhost import amazon
from tensorflow_metadata.proto.v0.schema_pb2 import Feature, Schema
from tfx.types import Channel, standard_artifacts

from components import names, object_store
from components.artifact_files import DamagedArtifactError
from components.code_version import project_version
from components.evaluator import blessing, summary
from components.evaluator.gate_results import Verdict
from components.imbalance_sampler import report as sampling_report
from components.pusher import executor, pushed_model, version_record
from components.pusher.component import Pusher
from components.pusher.pushed_file import FILE, PushedFile
from components.registry import Pushed, PushError, local, open_registry
from components.schema_gen import baseline, value_counts
from components.schema_gen.value_counts import Statistics
from components.stores import store_of


class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, x):
        return {"doubled": 2 * x}


def artifact(kind, uri: Path):
    made = kind()
    made.uri = str(uri)
    return made


def checked_data(root: Path, images: int) -> dict:
    """Writes a run's Schema and ExampleStatistics."""
    found = {
        names.SCHEMA: artifact(standard_artifacts.Schema, root / "schema"),
        names.STATISTICS: artifact(standard_artifacts.ExampleStatistics, root / "statistics"),
    }
    baseline.write_schema(Schema(feature=[Feature(name="width")]), found[names.SCHEMA].uri)
    statistics = Statistics()
    statistics.datasets.add(num_examples=images)
    path = Path(value_counts.statistics_path(found[names.STATISTICS].uri))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(statistics.SerializeToString())
    return found


def push(
    root: Path,
    recall: float | None,
    images: int = 9,
    damage=lambda model: None,
    settings: dict | None = None,
    registry: str | None = None,
):
    """Pushes a real SavedModel with a gate of recall >= 0.9; None for no verdict."""
    model = artifact(standard_artifacts.Model, root / "model")
    tf.saved_model.save(Doubler(), f"{model.uri}/Format-Serving")
    blessed = artifact(standard_artifacts.ModelBlessing, root / "blessing")
    if recall is not None:
        verdict = Verdict(blessed=recall >= 0.9, reason=f"recall is {recall}", results=())
        blessing.write(verdict, blessed, model)
    # As on a cluster: only with the URI.
    bare = artifact(standard_artifacts.ModelBlessing, root / "blessing")
    record = artifact(standard_artifacts.PushedModel, root / "pushed")
    data = {key: [made] for key, made in checked_data(root, images).items()}
    inputs = listed({names.MODEL: [model], names.BLESSING: [bare], **data})
    damage(Path(model.uri, "Format-Serving"))
    executor.Executor().Do(
        inputs,
        {names.PUSHED_MODEL: [record]},
        {
            executor.REGISTRY: registry or f"{root}/models",
            executor.SETTINGS: json.dumps(settings or {}),
        },
    )
    return record


def test_a_blessed_model_is_pushed_and_can_be_loaded_from_the_registry(tmp_path):
    record = push(tmp_path, recall=0.95)
    destination = pushed_model.read_destination(record.uri)
    assert destination == str(tmp_path / "models" / "1")
    served = tf.saved_model.load(destination)
    assert served(tf.constant([1.0, 3.0]))["doubled"].numpy().tolist() == [2.0, 6.0]
    assert record.get_int_custom_property("pushed") == 1
    assert record.get_string_custom_property("pushed_destination") == destination
    assert record.get_string_custom_property("pushed_version") == "1"


def test_a_model_that_is_not_blessed_is_not_pushed_and_the_component_succeeds(tmp_path):
    record = push(tmp_path, recall=0.85)
    assert not (tmp_path / "models").exists()
    assert pushed_model.read_destination(record.uri) is None
    assert record.get_int_custom_property("pushed") == 0
    assert left(record) == PushedFile(pushed=0, blessed=False, reason="recall is 0.85")


def left(record) -> PushedFile:
    return PushedFile.model_validate_json(Path(record.uri, FILE).read_bytes())


def test_the_verdict_is_left_for_steps_that_read_files_only(tmp_path):
    record = push(tmp_path, recall=0.95)
    found = left(record)
    assert (found.blessed, found.reason) == (True, "recall is 0.95")
    assert (found.pushed_version, found.is_new) == ("1", True)
    again = Pushed(version=1, path=str(tmp_path / "models" / "1"), is_new=False)
    pushed_model.write(record, again, {"blessed": True, "reason": "recall is 0.95"})
    assert left(record) == found.model_copy(update={"is_new": False})


def test_a_push_stands_if_the_server_that_tracks_it_is_down(tmp_path, caplog):
    down = {"address": "http://127.0.0.1:9"}  # the discard port, on which nothing listens
    settings = {"name": "pets", "tracking": {"model_registry": down}}
    record = push(tmp_path, recall=0.95, settings=settings)
    assert record.get_string_custom_property("pushed_version") == "1"
    assert open_registry(tmp_path / "models").serving() == 1
    [message] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "version 1 is pushed, but it is not registered with the Model Registry at" in message


def test_without_a_verdict_no_model_is_pushed(tmp_path):
    with pytest.raises(ValueError, match="must contain one of the files BLESSED"):
        push(tmp_path, recall=None)
    assert not (tmp_path / "models").exists()


def kept(root: Path) -> baseline.Baseline:
    found = baseline.read_kept(str(root / "models"))
    assert found is not None
    return found


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "files.json"])
def test_a_damaged_model_is_never_pushed(tmp_path, name, damage):
    push(tmp_path, recall=0.95)
    with pytest.raises(DamagedArtifactError, match="Format-Serving"):
        push(tmp_path, recall=0.96, damage=lambda model: damage(model / name))
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.isdigit()] == ["1"]


def test_a_copy_that_differs_from_the_model_is_never_pushed(tmp_path, monkeypatch):
    copy = local._copy

    def copy_badly(source: Path, names: list[str], target: Path) -> None:
        copy(source, names, target)
        flip_a_bit(target / "saved_model.pb")

    monkeypatch.setattr(local, "_copy", copy_badly)
    with pytest.raises(
        PushError, match=r"the copy differs from the model: saved_model\.pb must have the SHA-256"
    ):
        push(tmp_path, recall=0.95)
    assert open_registry(tmp_path / "models").versions() == []
    assert not list((tmp_path / "models").glob(".incoming-*"))


def test_the_schema_of_the_first_blessed_run_is_kept_and_stays(tmp_path):
    push(tmp_path, recall=0.95, images=9)
    assert (kept(tmp_path).origin["version"], kept(tmp_path).origin["images"]) == (1, 9)
    assert [feature.name for feature in kept(tmp_path).schema.feature] == ["width"]
    push(tmp_path, recall=0.96, images=7)
    assert (kept(tmp_path).origin["version"], kept(tmp_path).origin["images"]) == (1, 9)


def test_an_existing_registry_gets_the_schema_of_the_next_blessed_run(tmp_path):
    push(tmp_path, recall=0.95, images=9)
    shutil.rmtree(tmp_path / "models" / "schema")
    push(tmp_path, recall=0.95, images=7)
    assert kept(tmp_path).origin["images"] == 7


def test_a_schema_that_another_push_has_left_incomplete_is_told(tmp_path, monkeypatch, caplog):
    object_store.register()
    with amazon("models") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        # Stand-ins of S3 in one process share their buckets.
        registry = f"s3://models/of{tmp_path}"
        store_of(registry).write(f"{registry}/schema/files.json", b"")
        push(tmp_path, recall=0.95, registry=registry)
    assert "schema of version 1 was not kept: there is an incomplete one in" in caplog.text
    assert f"{registry}/schema" in caplog.text


def test_a_kept_schema_that_was_deleted_during_the_run_stays_deleted(tmp_path):
    push(tmp_path, recall=0.95)
    baseline.write(kept(tmp_path), str(tmp_path / "schema"))
    shutil.rmtree(tmp_path / "models" / "schema")
    push(tmp_path, recall=0.95)
    assert baseline.read_kept(str(tmp_path / "models")) is None


def test_the_components_parameters_are_the_registry_the_settings_and_the_digest_of_the_schema():
    pusher = Pusher(
        model=Channel(type=standard_artifacts.Model),
        blessing=Channel(type=standard_artifacts.ModelBlessing),
        schema=Channel(type=standard_artifacts.Schema),
        statistics=Channel(type=standard_artifacts.ExampleStatistics),
        registry="models",
        kept_schema="abc",
    )
    assert pusher.exec_properties == {
        "registry": "models",
        "kept_schema": "abc",
        "settings": "{}",
    }


def test_the_record_says_how_good_the_model_is_and_where_it_comes_from(tmp_path):
    push(tmp_path, recall=0.95)
    model, evaluation, sampling = (tmp_path / name for name in ("model", "evaluation", "sampling"))
    point = {"threshold": 0.4, "calibration": {"method": "platt"}}
    (model / "Format-Serving" / "assets").mkdir(exist_ok=True)
    (model / "Format-Serving" / "assets" / "operating_point.json").write_text(json.dumps(point))
    figures = {
        "split": "test",
        "examples": 1100,
        "positives": 100,
        "metrics": {"recall": 0.95},
        "intervals": {"recall": [0.9, 0.98]},
        "at_prevalence": {"prevalence": 0.01},
    }
    evaluation.mkdir()
    summary.write({**figures, "slices": []}, str(evaluation))
    (evaluation / "champion.json").write_text('{"state": "compared", "version": 4}')
    data = {
        "spans": [{"span": "7", "images": 9, "positives": 1, "digest": "a" * 64}],
        "images": 9,
        "positives": 1,
        "digest": "b" * 64,
    }
    sampling_report.write({"data": {"schema_version": 1, **data}}, str(sampling))
    inputs = {
        name: artifact(standard_artifacts.Model, tmp_path / name)
        for name in ("model", "blessing", "evaluation", "sampling")
    }
    record = version_record.read(inputs, {"name": "dogs"}, "run 3")(7)
    assert (record.version, record.blessed, record.reason) == (7, True, "recall is 0.95")
    assert (record.operating_point, record.calibration) == ({"threshold": 0.4}, {"method": "platt"})
    assert record.metrics.model_dump() == figures
    assert record.data.model_dump() == data
    assert record.settings == {"name": "dogs"}
    assert (record.lineage.run, record.lineage.champion) == ("run 3", 4)
    assert record.lineage.warm_start is None
    assert record.lineage.code_version == project_version()
    (evaluation / "champion.json").write_text('{"state": "refused", "version": 4}')
    warm = {"trainer": {"warm_start": "champion"}}
    not_compared = version_record.read(inputs, warm, "run 3")(7)
    assert (not_compared.lineage.champion, not_compared.lineage.warm_start) == (None, 4)
    warm["trainer"]["model"] = "xception"  # whose head is solved, whatever it begins with
    assert version_record.read(inputs, warm, "run 3")(7).lineage.warm_start is None


def test_what_is_unknown_is_null_in_the_record(tmp_path):
    record = push(tmp_path, recall=0.95)
    assert pushed_model.read_destination(record.uri)
    found = open_registry(tmp_path / "models").record(1)
    unknown = (found.operating_point, found.calibration, found.metrics, found.settings, found.data)
    assert unknown == (None,) * 5
    assert (found.lineage.run, found.lineage.champion) == (None, None)
    assert found.blessed
    assert found.created is not None
