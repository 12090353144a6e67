"""The steps that use a registry in a bucket, from the compiled file, without any volume."""

import json
from pathlib import Path
from typing import Any

import pytest
from launcher import Cluster
from model_folders import make_model
from store_on_localhost import ARTIFACTS, ObjectStore
from tensorflow_metadata.proto.v0.schema_pb2 import Feature, Schema
from tfx.types import standard_artifacts

from components import artifact_files
from components.evaluator import blessing, summary
from components.evaluator.gate_results import Verdict
from components.imbalance_sampler import report
from components.registry import open_registry
from components.schema_gen import baseline, value_counts
from pipeline.kubeflow.compile import compile_pipeline
from pipeline.settings import parse

REGISTRY = f"s3://{ARTIFACTS}/models-of-test/dogs"
# A store whose key the launcher reads from the cluster, so that no step gets one for its artifacts.
ROOT = f"minio://{ARTIFACTS}/root-of-test"


def write_model(folder: Path) -> None:
    make_model(folder / "Format-Serving")


def write_blessing(folder: Path) -> None:
    model, blessed = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    blessed.uri = str(folder)
    blessing.write(Verdict(blessed=True, reason="good", results=()), blessed, model)


def write_evaluation(folder: Path) -> None:
    folder.mkdir()
    counts = {"split": "test", "examples": 9, "positives": 1}
    summary.write({**counts, "metrics": {}, "intervals": {}, "at_prevalence": {}}, str(folder))


def write_schema(folder: Path) -> None:
    baseline.write_schema(Schema(feature=[Feature(name="width")]), str(folder))


def write_statistics(folder: Path) -> None:
    found = value_counts.Statistics()
    found.datasets.add(num_examples=9)
    path = Path(value_counts.statistics_path(str(folder)))
    path.parent.mkdir(parents=True)
    path.write_bytes(found.SerializeToString())


def write_sampling(folder: Path) -> None:
    report.write({report.DATA: None}, str(folder))


MADE = {
    ("Calibrator", "calibrated_model"): write_model,
    ("Evaluator", "blessing"): write_blessing,
    ("Evaluator", "evaluation"): write_evaluation,
    ("SchemaGen", "schema"): write_schema,
    ("StatisticsGen", "statistics"): write_statistics,
    ("ImbalanceSampler", "sampling"): write_sampling,
}


@pytest.fixture
def made(object_store: ObjectStore, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What the steps before the Pusher have made, in the object store."""
    outputs: dict[str, dict[str, Any]] = {}
    for (step, key), write in MADE.items():
        folder = tmp_path / f"made-{key}"
        write(folder)
        artifact_files.list_all(str(folder))
        prefix = f"root-of-test/made/{key}"
        object_store.upload(folder, ARTIFACTS, prefix)
        artifact = {"name": key, "uri": f"minio://{ARTIFACTS}/{prefix}", "metadata": {}}
        outputs.setdefault(step, {})[key] = artifact
    return outputs


def test_compiled_steps_push_to_a_registry_in_a_bucket_and_read_its_schema_without_a_volume(
    cluster: Cluster,
    object_store: ObjectStore,
    tree: dict[str, Any],
    made: dict[str, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    tree["pusher"] = {"registry": REGISTRY}
    tree["kubeflow"] |= {"pipeline_root": ROOT, "volumes": [], "retries": {"count": 0}}
    cluster.claims = {}
    package = compile_pipeline(parse(tree, origin="test"), tmp_path / "small.yaml")
    pushed = cluster.run_step(package, "Pusher", made, pipeline_root=ROOT)
    assert pushed.outputs["pushed_model"]["metadata"]["pushed_destination"] == f"{REGISTRY}/1"
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    registry = open_registry(REGISTRY)
    assert (registry.serving(), registry.verify(1)) == (1, "not signed")
    record = registry.record(1)
    assert record.settings["name"] == "small"
    assert f"/{record.lineage.run}/Pusher/" in pushed.outputs["pushed_model"]["uri"]
    given = {key: artifact["uri"] for of in made.values() for key, artifact in of.items()}
    given["model"] = given.pop("calibrated_model")
    assert record.lineage.artifacts == given
    # Of other data, so that the schema can only be that in the registry.
    steps = cluster.run_step(package, "SchemaGen", made, pipeline_root=ROOT)
    schema = steps.outputs["schema"]["uri"]
    assert json.loads(object_store.read(f"{schema}/kept.json"))["version"] == 1
    assert b"width" in object_store.read(f"{schema}/schema.pbtxt")
