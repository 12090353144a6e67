"""The sampler's account: what was asked, what there was, what was used."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.io import fileio

from components import names
from components.imbalance_sampler.census import Census, prevalence
from components.imbalance_sampler.plan import HELD_BACK, REST, Drawn

_FILE = "sampling.json"

Outcomes = Mapping[tuple[int, int], int]
"""Images by (outcome, class rank); see `plan.Plan.outcomes`."""


def sampling_report(
    *,
    census: Census,
    drawn: Sequence[Drawn],
    splits: Sequence[str],
    outcomes: Outcomes,
    weights: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What `sampling.json` says beside the settings.

    Args:
      census: the data's classes.
      drawn: every demand with what was available to it.
      splits: split names, in drawing order.
      outcomes: where the images went.
      weights: the real world's weight by class; None takes the data's own.

    Returns:
      `population`, the share of positives in the real world and where it comes from;
      `classes`, for each its label and the images that were there, left over, and held
      back; `splits`, by split and class (or side) the images asked for, available when
      its turn came, and used, with `by_class` where a side holds several classes;
      `class_weight`, see `balanced_class_weight`, of train (None where there is none).
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
                entry.demand.name: _account(entry, number, census, outcomes)
                for entry in drawn
                if entry.demand.split == split
            }
            for number, split in enumerate(splits)
        },
        "class_weight": _train_weight(splits, census, outcomes),
    }


def write(report: Mapping[str, Any], uri: str) -> None:
    """Writes the account into the Sampling artifact at `uri`."""
    fileio.makedirs(uri)
    with fileio.open(os.path.join(uri, _FILE), "w") as file:
        file.write(json.dumps(report, indent=2) + "\n")


def read(uri: str) -> dict[str, Any]:
    """The account in the Sampling artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read())


def balanced_class_weight(negatives: int, positives: int) -> dict[str, float]:
    """The weight of an example by label that gives both labels the same total.

    `n / (2 * n_label)`, whose mean over the examples is 1: the heuristic of King & Zeng,
    "Logistic Regression in Rare Events Data" (2001), in scikit-learn's form.

    Args:
      negatives: examples of label 0, at least 1.
      positives: examples of label 1, at least 1.
    """
    total = negatives + positives
    return {"0": total / (2 * negatives), "1": total / (2 * positives)}


def _account(entry: Drawn, split: int, census: Census, outcomes: Outcomes) -> dict[str, Any]:
    demand = entry.demand
    used = {rank: outcomes.get((split, rank), 0) for rank in demand.ranks}
    account: dict[str, Any] = {
        "asked": demand.asked,
        "available": entry.available,
        "used": sum(used.values()),
    }
    if len(used) > 1:
        account["by_class"] = {census.classes[rank]: count for rank, count in used.items()}
    return account


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
