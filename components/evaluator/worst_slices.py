"""The worst slices of an evaluation, as plain JSON."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from components import names, slice_columns
from components.evaluator import slice_search
from components.evaluator.slice_choice import Choice


def summarize(predictions: pd.DataFrame, choice: Choice) -> dict[str, Any]:
    """Searches the slices of an evaluation.

    Args:
      predictions: rows with label, is_positive and the slice columns.
      choice: the slices.

    Returns:
      `worst_slices`, see `slice_search.Search.worst`, with each slice as a dictionary;
      `slice_search`: the numbers of slices `looked_at` and `found`, and the
      `false_discovery_rate`; `bands`, the bounds by measure; and `slices_left_out`, by columns the
      reason why they are not sliced by, or not searched.
    """
    values = {column: predictions[column].nunique() for column in choice.columns}
    too_many = {
        column: f"{column} has {count:,} values, and columns of at most "
        f"{slice_columns.MAX_VALUES:,} are searched for the worst slices"
        for column, count in values.items()
        if count > slice_columns.MAX_VALUES
    }
    result = slice_search.search(
        predictions[names.LABEL],
        predictions[names.IS_POSITIVE],
        {column: predictions[column] for column in choice.columns if column not in too_many},
    )
    rows = [asdict(finding) for finding in result.worst]
    return {
        "worst_slices": [row | {"slice": dict(row["slice"])} for row in rows],
        "slice_search": {
            "looked_at": result.looked_at,
            "found": result.found,
            "false_discovery_rate": slice_search.FALSE_DISCOVERY_RATE,
        },
        "bands": choice.bounds,
        "slices_left_out": {**choice.left_out, **too_many},
    }
