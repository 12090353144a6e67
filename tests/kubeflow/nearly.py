"""Compares figures of two runs of the same computation."""

from typing import Any


def nearly(value: Any) -> Any:
    """Returns JSON with its numbers at 7 digits: other processes may add in another order."""
    match value:
        case dict():
            return {key: nearly(item) for key, item in value.items()}
        case list():
            return [nearly(item) for item in value]
        case float():
            return float(f"{value:.6e}")
    return value
