"""Slices, and the worst of them, in words.

Imports the standard library only, so that the command line stays fast.
"""

from collections.abc import Mapping
from typing import Any


def sentence(summary: Mapping[str, Any]) -> str:
    """Describes the worst slice that was found, or that none was.

    Args:
      summary: has what `worst_slices.summarize` returns.
    """
    counts = summary["slice_search"]
    looked_at = f"{counts['looked_at']:,} slices and crosses of two"
    if not counts["found"]:
        return f"none of {looked_at} is certainly worse than the rest"
    more = f" and {counts['found'] - 1:,} more" if counts["found"] > 1 else ""
    return f"{described(summary['worst_slices'][0])}{more}, of {looked_at}"


def described(row: Mapping[str, Any]) -> str:
    """Describes one row of `worst_slices`: `breed = pug: recall 0.500 (0.900 on the rest), …`."""
    side = "positive" if row["metric"] == "recall" else "negative"
    return (
        f"{name(row['slice'])}: {row['metric'].replace('_', ' ')} {row['value']:.3f} "
        f"({row['rest']:.3f} on the rest), {row['images']:,} {side} images, q = {row['q']:.2g}"
    )


def name(values: Mapping[str, str]) -> str:
    """Returns a slice as text; a missing value is `(none)`."""
    return ", ".join(f"{column} = {value or '(none)'}" for column, value in values.items())
