"""Versions in MLflow's own server, and what is said if a server is down."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import free_port, mlflow_server
from model_folders import make_model
from model_registry_stand_in import model_registry

from components.messages import InputError
from components.registry import Registry, VersionRecord, open_registry
from components.registry.record import Data, Lineage, Metrics
from components.tracking import settings
from components.tracking.facts import tracked
from components.tracking.settings import MLflow, Tracking
from components.tracking.track import track, warning

METRICS = Metrics(
    split="test",
    examples=100,
    positives=10,
    metrics={"recall": 0.9, "precision": None},
    intervals={"recall": [0.8, 0.95], "precision": None},
    at_prevalence={"precision": 0.7, "intervals": {"precision": [0.6, 0.8]}},
)
SETTINGS = {
    "name": "pets",
    "trainer": {"epochs": 3, "model": "xception"},
    "population": {"prevalence": {"Großer Hund": 1, "cats": 10}},
    "kubeflow": {"image": "outnumbered:0.1.0"},
}


def record(version: int) -> VersionRecord:
    return VersionRecord(
        version=version,
        created=datetime(2026, 11, 27, 3, version, tzinfo=UTC),
        blessed=True,
        reason="all gates passed",
        operating_point={"threshold": 0.4, "rule": "best_f1"},
        metrics=METRICS,
        settings=SETTINGS,
        data=Data(spans=[], images=90, positives=9, digest="a" * 64),
        lineage=Lineage(run="run-1", champion=1, artifacts={"evaluation": "s3://bucket/eval"}),
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    found = open_registry(tmp_path / "registry")
    for text in "ab":
        found.push(make_model(tmp_path / text, text), record)
    return found


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory):
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


def test_metrics_parameters_and_lineage_follow_from_the_record():
    found = tracked(record(2), "s3://bucket/registry/2")
    assert found.metrics == {
        "test.images": 100.0,
        "test.positives": 10.0,
        "recall": 0.9,
        "recall.lower": 0.8,
        "recall.upper": 0.95,
        "at_prevalence.precision": 0.7,
        "at_prevalence.precision.lower": 0.6,
        "at_prevalence.precision.upper": 0.8,
        "threshold": 0.4,
    }
    assert found.parameters == {
        "name": "pets",
        "trainer.epochs": "3",
        "trainer.model": "xception",
        "population.prevalence": '{"Großer Hund": 1, "cats": 10}',
    }
    assert found.tags["artifact.evaluation"] == "s3://bucket/eval"
    assert (found.tags["run"], found.tags["champion"], found.tags["rule"]) == (
        *("run-1", "1"),
        "best_f1",
    )


def test_a_version_is_the_same_where_its_registry_is_mounted_elsewhere():
    assert tracked(record(2), "/registry/2").key == tracked(record(2), "/mnt/2").key
    assert tracked(record(2), "/registry/2").key != tracked(record(1), "/registry/1").key


def test_versions_are_logged_once_with_alias_and_stage_and_a_rollback_moves_them(registry, uri):
    tracking = Tracking.model_validate({"mlflow": {"uri": uri, "experiment": "studies"}})
    client = MlflowClient(uri, uri)

    def stages() -> dict[str, str]:
        return {
            each.tags["outnumbered.version"]: each.tags["outnumbered.stage"]
            for each in client.search_model_versions("name = 'pets'")
        }

    for _ in range(2):
        assert [each.problem for each in track(registry, tracking, "pets", [1, 2])] == [None]
    runs = client.search_runs([client.get_experiment_by_name("studies").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["pets 1", "pets 2"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    run = runs[0]
    assert run.data.metrics["at_prevalence.precision.upper"] == 0.8
    assert run.data.params["trainer.epochs"] == "3"
    assert run.data.tags["outnumbered.artifact.evaluation"] == "s3://bucket/eval"
    assert stages() == {"1": "candidate", "2": "serving"}
    registry.rollback()
    track(registry, tracking, "pets", [])
    assert stages() == {"1": "serving", "2": "retired"}
    served = client.get_model_version_by_alias("pets", "champion")
    assert served.tags["outnumbered.uri"] == registry.uri(1)


@pytest.mark.parametrize("key", ["mlflow.uri", "model_registry.address"])
def test_a_server_that_is_down_is_reported_and_what_to_do(registry, key):
    section, name = key.split(".")
    address = f"http://127.0.0.1:{free_port()}"
    [found] = track(registry, Tracking.model_validate({section: {name: address}}), "pets", [2])
    assert found.problem is not None
    message = warning(found, "version 2 is pushed")
    assert message.startswith(f"version 2 is pushed, but it is not registered with {found.server}")
    assert address in message
    assert "outnumbered models track" in message


def test_the_model_registry_has_each_version_once_and_the_stage_moves(registry, monkeypatch):
    monkeypatch.setenv("MODEL_REGISTRY_TOKEN", "secret")
    with model_registry() as (address, store):
        tracking = Tracking.model_validate({"model_registry": {"address": address}})
        for _ in range(2):
            assert [each.problem for each in track(registry, tracking, "pets", [1, 2])] == [None]
        registry.rollback()
        track(registry, tracking, "pets", [])
    assert [model["name"] for model in store.models.values()] == ["pets"]
    found = {version["name"]: version["customProperties"] for version in store.versions.values()}
    assert {name: each["stage"]["string_value"] for name, each in found.items()} == {
        "1": "serving",
        "2": "retired",
    }
    assert found["2"]["recall"]["double_value"] == 0.9
    assert found["2"]["trainer.epochs"]["string_value"] == "3"
    uris = [artifact["uri"] for [artifact] in store.artifacts.values()]
    assert uris == [registry.uri(1), registry.uri(2)]
    assert store.tokens == {"Bearer secret"}


def test_a_version_of_another_registry_under_the_same_name_is_not_overwritten(registry, tmp_path):
    other = open_registry(tmp_path / "other")
    other.push(
        make_model(tmp_path / "c", "c"),
        lambda number: record(number + 1).model_copy(update={"version": number}),
    )
    with model_registry() as (address, _):
        tracking = Tracking.model_validate({"model_registry": {"address": address}})
        track(registry, tracking, "pets", [1])
        [found] = track(other, tracking, "pets", [1])
    assert found.problem is not None
    assert "already has a version 1, of another registry" in found.problem


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///mlflow.db", "must start with http:// or https://"),
        ("http://", "must start with http:// or https://"),
        ("http://ann:secret@host", "must not contain a user or password"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused_without_its_password(url, message):
    with pytest.raises(ValueError, match=message) as error:
        MLflow(uri=url)
    assert "secret" not in error.value.errors()[0]["msg"]


def test_a_missing_extra_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="requires the extra mlflow"):
        settings.check_installed(Tracking(mlflow=MLflow(uri="http://host")))
    settings.check_installed(Tracking())
