"""Reads back what TFMA counted, slice by slice."""

from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma

from components.evaluator.metrics import Confusion


@dataclass(frozen=True)
class SliceCounts:
    """The outcomes within one slice; the whole split is the slice of no column."""

    values: dict[str, str]
    counts: Confusion


def read(evaluation_uri: str) -> list[SliceCounts]:
    """Every slice of a TFMA result: fewer columns first, then by column and value."""
    result = tfma.load_eval_result(evaluation_uri)
    slices = [_slice_counts(key, metrics) for key, metrics in result.slicing_metrics]
    return sorted(slices, key=lambda found: (len(found.values), list(found.values.items())))


def _slice_counts(key: tuple, metrics: dict[str, Any]) -> SliceCounts:
    # Unnamed output of an unnamed model: TFMA keys both by the empty string.
    values = metrics[""][""]
    counts = {name: round(values[name]["doubleValue"]) for name in ("tp", "fp", "tn", "fn")}
    return SliceCounts({column: str(value) for column, value in key}, Confusion(**counts))
