"""SchemaGen, its kept schema, and ExampleValidator over several runs."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_statistics import statistics, statistics_artifact
from listed import listed
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from components import names
from components.example_validator import executor, findings, findings_file
from components.schema_gen import baseline
from components.schema_gen import executor as schema_gen

WITH_FOXES = {"cats": 1650, "dogs": 165, "foxes": 12}


@dataclass
class Runs:
    """Runs of one pipeline, each with its own data."""

    root: Path
    count: int = 0

    @property
    def registry(self) -> str:
        return str(self.root / "registry")

    @property
    def kept(self) -> Path:
        return self.root / "registry" / "schema"

    def run(self, data, *, blessed: bool) -> dict:
        """Checks the data, and keeps its schema as the Pusher does; returns the findings."""
        self.count += 1
        folder = self.root / str(self.count)
        source = statistics_artifact(data, folder / "statistics")
        schema, target = standard_artifacts.Schema(), standard_artifacts.ExampleAnomalies()
        schema.uri, target.uri = str(folder / "schema"), str(folder / "anomalies")
        schema_gen.Executor().Do(
            listed({names.STATISTICS: [source]}),
            {names.SCHEMA: [schema]},
            {schema_gen.REGISTRY: self.registry},
        )
        executor.Executor().Do(
            {names.STATISTICS: [source], names.SCHEMA: [schema]}, {names.ANOMALIES: [target]}, {}
        )
        assert target.split_names == '["all"]'
        if blessed:
            Path(self.registry).mkdir(exist_ok=True)
            if not baseline.was_kept(schema.uri):
                baseline.keep(self.registry, schema.uri, source.uri, version=self.count)
        return findings_file.read(target.uri)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def test_until_a_model_is_blessed_nothing_is_checked_or_reported_as_checked(runs, first_data):
    for data in (first_data, statistics(WITH_FOXES)):
        found = runs.run(data, blessed=False)
        assert found == {"checked": False, "schema": None, "anomalies": []}
        assert findings.source(found) == findings.NOT_CHECKED
        assert not (runs.root / str(runs.count) / "anomalies" / "Split-all").exists()
    assert not runs.kept.exists()


def test_the_next_run_is_checked_against_the_first_blessed_one(runs, first_data):
    runs.run(first_data, blessed=True)
    found = runs.run(first_data, blessed=True)
    assert (found["checked"], found["anomalies"]) == (True, [])
    assert found["schema"]["version"] == 1
    assert found["schema"]["images"] == 1815
    assert findings.source(found).startswith("the schema of version 1, kept 20")

    found = runs.run(statistics(WITH_FOXES), blessed=True)
    (row,) = found["anomalies"]
    assert findings.sentence(row) == (
        "new class in class_name: 'foxes' (12 images), expected one of 'cats', 'dogs'"
    )
    file = runs.root / "3" / "anomalies" / "Split-all" / "SchemaDiff.pb"
    assert list(anomalies_pb2.Anomalies.FromString(file.read_bytes()).anomaly_info) == [
        "class_name"
    ]
    # The run was blessed, but the schema of the first run is still kept.
    assert found["schema"]["version"] == 1
    assert runs.run(statistics(WITH_FOXES), blessed=True)["anomalies"] == [row]


def test_new_data_is_accepted_by_editing_the_schema(runs, first_data):
    runs.run(first_data, blessed=True)
    file = runs.kept / "schema.pbtxt"
    assert str(file) in findings.advice(runs.run(statistics(WITH_FOXES), blessed=False))
    text = file.read_text()
    file.write_text(text.replace('value: "dogs"\n', 'value: "dogs"\n value: "foxes"\n', 1))
    edited = file.read_text()
    assert runs.run(statistics(WITH_FOXES), blessed=True)["anomalies"] == []
    assert file.read_text() == edited


def test_deleting_the_folder_starts_over(runs, first_data):
    runs.run(first_data, blessed=True)
    shutil.rmtree(runs.kept)
    assert not runs.run(statistics(WITH_FOXES), blessed=True)["checked"]
    found = runs.run(statistics(WITH_FOXES), blessed=False)
    assert (found["schema"]["version"], found["anomalies"]) == (2, [])
    (row,) = runs.run(first_data, blessed=False)["anomalies"]
    assert row["kind"] == "vanished class"
