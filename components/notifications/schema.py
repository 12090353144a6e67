"""The JSON Schema of what a webhook receives, docs/notification.schema.json.

    python -m components.notifications.schema

writes it. See `components.notifications.message` for when a schema version is raised.
"""

import json
from pathlib import Path

from components.notifications.message import Notification

PATH = Path(__file__).parents[2] / "docs" / "notification.schema.json"

_WORDS = {
    "title": {"description": "How the run ended, on one line.", "type": "string"},
    "text": {"description": "How the run ended and why, on some lines.", "type": "string"},
}


def json_schema() -> str:
    """Returns the JSON Schema (draft 2020-12)."""
    schema = Notification.model_json_schema(mode="serialization")
    schema["properties"] |= _WORDS
    schema["required"] += list(_WORDS)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | schema, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(json_schema(), encoding="utf-8")
