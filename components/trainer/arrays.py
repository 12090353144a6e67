"""Named arrays in one file, local or remote."""

import io
import os
import uuid
from collections.abc import Mapping

import numpy as np
from tfx.dsl.io import fileio

from components import stop_signals


@stop_signals.deferred()
def save(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a NumPy archive atomically: a crash leaves the previous file.

    Args:
      path: path of the file; its folder is created.
      arrays: arrays by name; no object arrays.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    fileio.makedirs(os.path.dirname(path))
    # A unique name, since two trainings of one pipeline root may save the same state.
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    with fileio.open(partial, "wb") as file:
        file.write(buffer.getvalue())
    fileio.rename(partial, path, overwrite=True)


def load(path: str) -> dict[str, np.ndarray] | None:
    """Returns what `save` wrote, or None if the file does not exist."""
    if not fileio.exists(path):
        return None
    with fileio.open(path, "rb") as file, np.load(io.BytesIO(file.read())) as saved:
        return dict(saved)


def numbered(prefix: str, arrays: list[np.ndarray] | None) -> dict[str, np.ndarray]:
    """Returns a list of arrays as arrays by name; `in_order` is the inverse."""
    return {f"{prefix}_{index}": array for index, array in enumerate(arrays or [])}


def in_order(prefix: str, saved: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the list of arrays that `numbered` named."""
    count = sum(name.startswith(f"{prefix}_") for name in saved)
    return [saved[f"{prefix}_{index}"] for index in range(count)]
