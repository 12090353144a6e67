"""Provenance of a report: settings, and versions of the software that computed it."""

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


def as_trained(settings: Mapping[str, Any], history: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the run's settings, with the trainer settings that were used.

    The parameters of a run on a cluster may override the epochs or the model of the settings.

    Args:
      settings: nested, with the section `trainer`.
      history: content of `history.json`; None if there is none.
    """
    used = (history or {}).get("settings", {})
    trainer = {key: used.get(key, value) for key, value in settings.get("trainer", {}).items()}
    return {**settings, "trainer": trainer} if trainer else dict(settings)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns nested settings as dotted keys and their values, in order."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows.extend(flattened(value, f"{prefix}{key}."))
        else:
            rows.append((f"{prefix}{key}", wording.DASH if value is None else str(value)))
    return rows


def versions() -> list[tuple[str, str]]:
    """Returns the versions of Python and of the packages that computed the results."""
    found = [("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue  # Not installed, but run from a folder.
    return found
