"""The versions in a model registry; imports the standard library only."""

import os
from pathlib import Path


def versions(registry: str | os.PathLike) -> list[int]:
    """Returns the versions in a registry, oldest first; none if the registry does not exist."""
    root = Path(registry)
    found = root.iterdir() if root.is_dir() else []
    return sorted(int(path.name) for path in found if path.name.isdecimal() and path.is_dir())
