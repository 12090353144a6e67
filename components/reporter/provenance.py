"""Where a report's figures come from: settings, and versions of what reckoned them."""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from components.reporter import wording

_PACKAGES = (
    "outnumbered",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-model-analysis",
    "apache-beam",
    "numpy",
)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted keys and their values, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows.extend(flattened(value, f"{prefix}{key}."))
        else:
            rows.append((f"{prefix}{key}", wording.DASH if value is None else str(value)))
    return rows


def versions() -> list[tuple[str, str]]:
    """Of Python and of the packages that had a part in the figures."""
    found = [("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue  # Run from a folder, without being installed.
    return found
