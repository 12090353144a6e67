"""docs/registry.schema.json, by which the files of a registry are valid."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from model_folders import make_model, recorded

from components.registry import open_registry, schema


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return json.loads(schema.PATH.read_text(encoding="utf-8"))


def is_valid(content: Any, page: dict[str, Any], kind: str) -> bool:
    found = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", **page})
    return found.is_valid(content)


def test_the_page_is_up_to_date():
    assert schema.PATH.read_text(encoding="utf-8") == schema.json_schema(), (
        "run `python -m components.registry.schema`"
    )


def test_every_key_is_described(page):
    for part in page["$defs"].values():
        assert part["description"]
        for key, value in part["properties"].items():
            assert value.get("description") or "$ref" in value, f"{part['title']}.{key}"


def test_the_files_of_a_registry_are_valid_and_changed_ones_are_not(page, tmp_path: Path):
    registry = open_registry(tmp_path / "models")
    registry.push(make_model(tmp_path / "model"), recorded())
    state = json.loads((tmp_path / "models" / "registry.json").read_text())
    record = json.loads((tmp_path / "models" / "1" / "version.json").read_text())
    assert is_valid(state, page, "State")
    assert is_valid(record, page, "VersionRecord")
    for changed in ({"serving": "one"}, {"schema_version": 2}, {"history": [{"version": 1}]}):
        assert not is_valid(state | changed, page, "State")
    for changed in ({"version": 0}, {"blessed": "yes"}, {"data": {"images": 3}}):
        assert not is_valid(record | changed, page, "VersionRecord")
