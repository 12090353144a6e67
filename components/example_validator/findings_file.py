"""Reads and writes `findings.json`, the findings in an ExampleAnomalies artifact."""

import json
import os
from typing import Any

from tfx.dsl.io import fileio

from components.example_validator.findings import Findings

_FILE = "findings.json"


def write(findings: Findings, uri: str) -> None:
    """Writes the findings into the ExampleAnomalies artifact at `uri`."""
    fileio.makedirs(uri)
    with fileio.open(os.path.join(uri, _FILE), "w") as file:
        file.write(json.dumps(findings, indent=2, ensure_ascii=False))


def read(uri: str) -> dict[str, Any]:
    """Reads the findings in the ExampleAnomalies artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read())
