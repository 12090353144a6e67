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


def as_trained(settings: Mapping[str, Any], history: Mapping[str, Any] | None) -> dict[str, Any]:
    """The run's settings, with those of the trainer as it had them.

    A run on a cluster may have been given other epochs or another model than the settings say.

    Args:
      settings: nested, with the section `trainer`.
      history: content of `history.json`; None where there is none.
    """
    used = (history or {}).get("settings", {})
    own = {key: used.get(key, value) for key, value in settings.get("trainer", {}).items()}
    return {**settings, "trainer": own} if own else dict(settings)


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
