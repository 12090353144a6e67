"""The JSON Schema of a registry's files, docs/registry.schema.json.

    python -m components.registry.schema

writes it. See `components.registry.record` for when a schema version is raised.
"""

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from components.registry.record import VersionRecord
from components.registry.signing import Signature
from components.registry.state import State

PATH = Path(__file__).parents[2] / "docs" / "registry.schema.json"

_FILES: dict[str, type[BaseModel]] = {
    "registry.json": State,
    "version.json": VersionRecord,
    "signature.json": Signature,
}


def json_schema() -> str:
    """Returns the JSON Schema (draft 2020-12), with the schema of each file in `$defs`."""
    _, schema = models_json_schema([(model, "validation") for model in _FILES.values()])
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Files of a model registry",
        "description": ", ".join(f"{file}: {model.__name__}" for file, model in _FILES.items()),
    }
    return json.dumps(head | schema, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(json_schema(), encoding="utf-8")
