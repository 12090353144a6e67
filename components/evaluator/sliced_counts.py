"""Reads TFMA's counts by slice."""

from dataclasses import dataclass
from typing import Any

from components.evaluator.metrics import Confusion


@dataclass(frozen=True)
class SliceCounts:
    """The counts within one slice; the whole split is the slice without columns."""

    values: dict[str, str]
    counts: Confusion


def read(evaluation_uri: str) -> list[SliceCounts]:
    """Reads every slice of a TFMA result: fewer columns first, then by column and value."""
    # Imported here: it takes seconds, and the counts of a slice are also used without TFMA.
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(evaluation_uri)
    slices = [_slice_counts(key, metrics) for key, metrics in result.slicing_metrics]
    return sorted(slices, key=lambda found: (len(found.values), list(found.values.items())))


def _slice_counts(key: tuple, metrics: dict[str, Any]) -> SliceCounts:
    # TFMA uses the empty string as the key of an unnamed model and of an unnamed output.
    values = metrics[""][""]
    counts = {name: round(values[name]["doubleValue"]) for name in ("tp", "fp", "tn", "fn")}
    return SliceCounts({column: str(value) for column, value in key}, Confusion(**counts))
