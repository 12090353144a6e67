"""The sampler's report: the images requested, available and used."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.io import fileio

from components import names
from components.imbalance_sampler.census import Census, prevalence
from components.imbalance_sampler.plan import HELD_BACK, REST, Drawn

SLICE_COLUMNS = "slice_columns"
"""Key of what `components.slice_columns` reads; None for examples of an older version."""

DATA = "data"
"""Key of the fingerprint of the data, see `components.image_example_gen.spans_file.DataRecord`;
None for examples of an older version."""

_FILE = "sampling.json"

Outcomes = Mapping[tuple[int, int], int]
"""Images by (outcome, class rank); see `plan.Plan.outcomes`."""


def summarize(
    *,
    census: Census,
    drawn: Sequence[Drawn],
    splits: Sequence[str],
    outcomes: Outcomes,
    weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Returns the content of `sampling.json` besides the settings.

    Args:
      census: the data's classes.
      drawn: every demand with the number of images that were available to it.
      splits: split names, in drawing order.
      outcomes: the outcomes of the images.
      weights: the real world's weight by class; None for the balance of the data.

    Returns:
      `population`, the share of positives in the real world and its source; `classes`, for
      each its label and the images that were available, left over (`rest`) and held back;
      `splits`, by split and class (or side) the images that were requested (`asked`),
      available when the split was drawn, and used, with `by_class` if a side has several
      classes; `class_weight`, see `balanced_class_weight`, of train (None without train).
    """
    return {
        "population": {
            "prevalence": prevalence(weights, census),
            "source": "data" if weights is None else "settings",
        },
        "classes": {
            name: {
                "label": census.labels[rank],
                "available": census.counts[rank],
                "rest": outcomes.get((REST, rank), 0),
                "held_back": outcomes.get((HELD_BACK, rank), 0),
            }
            for rank, name in sorted(enumerate(census.classes), key=lambda item: item[1])
        },
        "splits": {
            split: {
                entry.demand.name: _entry(entry, number, census, outcomes)
                for entry in drawn
                if entry.demand.split == split
            }
            for number, split in enumerate(splits)
        },
        "class_weight": _train_weight(splits, census, outcomes),
    }


def write(report: Mapping[str, Any], uri: str) -> None:
    """Writes the report into the Sampling artifact at `uri`."""
    fileio.makedirs(uri)
    with fileio.open(os.path.join(uri, _FILE), "w") as file:
        file.write(json.dumps(report, indent=2) + "\n")


def read(uri: str) -> dict[str, Any]:
    """Reads the report in the Sampling artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read())


def balanced_class_weight(negatives: int, positives: int) -> dict[str, float]:
    """Returns the weights by label that give both labels the same total weight.

    `n / (2 * n_label)`, whose mean over the examples is 1: the heuristic of King & Zeng,
    "Logistic Regression in Rare Events Data" (2001), in scikit-learn's form.

    Args:
      negatives: examples of label 0, at least 1.
      positives: examples of label 1, at least 1.
    """
    total = negatives + positives
    return {"0": total / (2 * negatives), "1": total / (2 * positives)}


def _entry(drawn: Drawn, split: int, census: Census, outcomes: Outcomes) -> dict[str, Any]:
    demand = drawn.demand
    used = {rank: outcomes.get((split, rank), 0) for rank in demand.ranks}
    entry: dict[str, Any] = {
        "asked": demand.requested,
        "available": drawn.available,
        "used": sum(used.values()),
    }
    if len(used) > 1:
        entry["by_class"] = {census.classes[rank]: count for rank, count in used.items()}
    return entry


def _train_weight(
    splits: Sequence[str], census: Census, outcomes: Outcomes
) -> dict[str, float] | None:
    if names.TRAIN not in splits:
        return None
    train = list(splits).index(names.TRAIN)
    negatives, positives = (
        sum(outcomes.get((train, rank), 0) for rank in census.side(label))
        for label in (names.NEGATIVE_LABEL, names.POSITIVE_LABEL)
    )
    return balanced_class_weight(negatives, positives)
