"""The schema of metrics.json, which every run's file is valid by (see run_on_disk.py)."""

import json
from typing import Any

import jsonschema
import pytest

from components.reporter import metrics_schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads(metrics_schema.PATH.read_text(encoding="utf-8"))


def test_the_page_is_up_to_date():
    assert metrics_schema.PATH.read_text(encoding="utf-8") == metrics_schema.json_schema() + "\n", (
        "run `python -m components.reporter.metrics_schema`"
    )


def test_every_key_is_described(schema):
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        for key, value in part["properties"].items():
            assert value.get("description") or "$ref" in value, f"{part['title']}.{key}"


def test_a_file_that_misses_a_key_or_has_an_unknown_one_is_not_valid(schema, reported):
    _, _, metrics = reported
    jsonschema.validate(metrics, schema)
    for changed in (
        {key: value for key, value in metrics.items() if key != "positives"},
        metrics | {"positve": 1},
        metrics | {"schema_version": 2},
        metrics | {"metrics": metrics["metrics"] | {"recall": 1.5}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed, schema)
