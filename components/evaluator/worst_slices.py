"""The worst slices of an evaluation, as plain JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from components import names, slice_columns
from components.evaluator import slice_search


def summarize(predictions: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """Searches the slices of an evaluation.

    Args:
      predictions: rows with label, is_positive and the slice columns.
      columns: slice columns; those with more than `slice_columns.MAX_VALUES` values are not
        searched.

    Returns:
      `worst_slices`, see `slice_search.Search.worst`, with each slice as a dictionary, and
      `slice_search`: the numbers of slices `looked_at` and `found`, and the
      `false_discovery_rate`.
    """
    searched = [
        column for column in columns if predictions[column].nunique() <= slice_columns.MAX_VALUES
    ]
    result = slice_search.search(
        predictions[names.LABEL],
        predictions[names.IS_POSITIVE],
        {column: predictions[column] for column in searched},
    )
    rows = [asdict(finding) for finding in result.worst]
    return {
        "worst_slices": [row | {"slice": dict(row["slice"])} for row in rows],
        "slice_search": {
            "looked_at": result.looked_at,
            "found": result.found,
            "false_discovery_rate": slice_search.FALSE_DISCOVERY_RATE,
        },
    }
