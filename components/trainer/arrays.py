"""Named arrays as the bytes of a NumPy archive."""

import io
from collections.abc import Mapping

import numpy as np


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the content of an `.npz` file.

    Args:
      arrays: arrays by name; no object arrays.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays in what `packed` returned."""
    with np.load(io.BytesIO(content)) as saved:
        return dict(saved)


def numbered(prefix: str, arrays: list[np.ndarray] | None) -> dict[str, np.ndarray]:
    """Returns a list of arrays as arrays by name; `in_order` is the inverse."""
    return {f"{prefix}_{index}": array for index, array in enumerate(arrays or [])}


def in_order(prefix: str, saved: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the list of arrays that `numbered` named."""
    count = sum(name.startswith(f"{prefix}_") for name in saved)
    return [saved[f"{prefix}_{index}"] for index in range(count)]
