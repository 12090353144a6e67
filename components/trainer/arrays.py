"""Named arrays in one file, local or remote."""

import io
import os
import uuid
from collections.abc import Mapping

import numpy as np
from tfx.dsl.io import fileio


def save(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a NumPy archive, whole or not at all: a crash leaves the file that was there.

    Args:
      path: of the file; its folder is made.
      arrays: by name; none of objects.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    fileio.makedirs(os.path.dirname(path))
    # A name of its own: two trainings of one pipeline root may save the same state.
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    with fileio.open(partial, "wb") as file:
        file.write(buffer.getvalue())
    fileio.rename(partial, path, overwrite=True)


def load(path: str) -> dict[str, np.ndarray] | None:
    """What `save` wrote, or None where there is no such file."""
    if not fileio.exists(path):
        return None
    with fileio.open(path, "rb") as file, np.load(io.BytesIO(file.read())) as saved:
        return dict(saved)


def numbered(prefix: str, own: list[np.ndarray] | None) -> dict[str, np.ndarray]:
    """Names for a list of arrays; `in_order` makes it of them again."""
    return {f"{prefix}_{index}": array for index, array in enumerate(own or [])}


def in_order(prefix: str, saved: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays that `numbered` named."""
    count = sum(name.startswith(f"{prefix}_") for name in saved)
    return [saved[f"{prefix}_{index}"] for index in range(count)]
