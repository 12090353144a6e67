"""The metrics of an evaluation, with their intervals, as plain JSON.

`summary.json` is stored with TFMA's own files in the ModelEvaluation artifact, so that
reports on the metrics need neither TFMA nor a second definition of them.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from tfx.dsl.io import fileio

from components import names
from components.evaluator import intervals, metrics, probability_quality, review, worst_slices
from components.evaluator.metrics import Confusion, Costs
from components.evaluator.slice_choice import Choice
from components.evaluator.sliced_counts import SliceCounts

_FILE = "summary.json"


def summarize(
    predictions: pd.DataFrame,
    slices: Sequence[SliceCounts],
    *,
    split: str,
    threshold: float,
    prevalence: float,
    costs: Costs | None = None,
    band: Mapping[str, float] | None = None,
    choice: Choice | None = None,
) -> dict[str, Any]:
    """Computes all metrics of the split and of its slices; undefined ones are None.

    Args:
      predictions: rows with label, probability, score, is_positive, needs_review and the slice
        columns.
      slices: TFMA's counts, including those of the whole split.
      split: name of the split.
      threshold: the operating point.
      prevalence: share of positives in the real world.
      costs: costs of wrong decisions, for `expected_cost`; None if they are not known.
      band: `share`, `lower` and `upper` of the model's review band; None without one.
      choice: the slices, of which the worst are searched; None for the classes only.

    Raises:
      ValueError: the split has no positives or no negatives, or the model's decisions
        disagree with its threshold.
      RuntimeError: TFMA's counts disagree with the predictions.
    """
    labels = predictions[names.LABEL].to_numpy()
    probabilities = predictions[names.PROBABILITY].to_numpy()
    _check_classes(labels, split)
    _check_operating_point(predictions, threshold)
    _check_review(predictions, band)
    counts = metrics.confusion(labels, predictions[names.IS_POSITIVE])
    _check_tfma(counts, slices)
    own, world = _figures(counts, labels, probabilities, prevalence, costs)
    own_intervals = own.pop("intervals")
    scores = predictions[names.SCORE].to_numpy()
    before, after = (
        probability_quality.reliability(labels, values, prevalence, seed=intervals.SEED)
        for values in (scores, probabilities)
    )
    return _plain(
        {
            "split": split,
            "examples": len(labels),
            "positives": counts.positives,
            "metrics": {**own, "threshold": threshold, **asdict(counts)},
            "intervals": own_intervals,
            "at_prevalence": {"prevalence": prevalence, **world},
            "calibration": {"prevalence": prevalence, "before": before, "after": after},
            "review": _review(predictions, band, prevalence, costs),
            "slices": _slices(
                [found for found in slices if found.values],
                predictions,
                metrics.negative_weight(counts.positives, counts.negatives, prevalence),
            ),
            **worst_slices.summarize(predictions, choice or Choice()),
        }
    )


def write(summary: dict[str, Any], uri: str) -> None:
    """Writes the summary into the ModelEvaluation artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "w") as file:
        file.write(json.dumps(summary, indent=2, ensure_ascii=False))


def read(uri: str) -> dict[str, Any]:
    """Reads the summary in the ModelEvaluation artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return json.loads(file.read())


def _figures(
    counts: Confusion,
    labels: np.ndarray,
    probabilities: np.ndarray,
    prevalence: float,
    costs: Costs | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes all figures and `intervals`, at the split's own balance and at `prevalence`.

    The intervals are computed by the same method for both, so that each metric has one interval.
    """
    shares = counts.positives / len(labels), prevalence
    areas = intervals.of_areas_at(labels, probabilities, shares, seed=intervals.SEED)
    own, world = (_of_counts(counts, share, costs) for share in shares)
    for figures, share, of_areas in zip((own, world), shares, areas, strict=True):
        quality = probability_quality.reliability(labels, probabilities, share, seed=intervals.SEED)
        figures["pr_auc"] = metrics.average_precision(labels, probabilities, share)
        figures["auc"] = metrics.roc_auc(labels, probabilities)
        figures |= {name: quality[name] for name in probability_quality.METRICS}
        figures["intervals"] |= {**quality["intervals"], **of_areas}
    return own | metrics.rates(counts), world


def _of_counts(counts: Confusion, share: float, costs: Costs | None) -> dict[str, Any]:
    """Computes the figures that follow from the confusion matrix, at a share of positives."""
    rates = counts.recall, counts.false_positive_rate, share
    return {
        **metrics.rates_at_prevalence(*rates),
        **metrics.per_thousand(*rates, costs),
        "intervals": intervals.at_prevalence(counts, share, seed=intervals.SEED, costs=costs),
    }


def _review(
    predictions: pd.DataFrame,
    band: Mapping[str, float] | None,
    prevalence: float,
    costs: Costs | None,
) -> dict[str, Any] | None:
    """Computes the figures of the images that are decided without a person, at both balances.

    The figures of all images, as if each were decided by the threshold, are those of the summary.
    """
    if band is None:
        return None
    labels = predictions[names.LABEL].to_numpy()
    sides = review.count(labels, predictions[names.IS_POSITIVE], predictions[names.NEEDS_REVIEW])
    return {
        **band,
        "images": int(predictions[names.NEEDS_REVIEW].sum()),
        "positives": int(sides.reviewed_positives),
        "metrics": review.figures(
            sides, sides.positives / len(labels), seed=intervals.SEED, costs=costs
        ),
        "at_prevalence": review.figures(sides, prevalence, seed=intervals.SEED, costs=costs),
    }


def _slices(
    slices: Sequence[SliceCounts], predictions: pd.DataFrame, negative_weight: float
) -> list[dict[str, Any]]:
    """Computes the figures of each slice.

    At prevalence, each negative has the weight that it has in the whole split: the figures are
    those of the slice's images in the real world, whose share of positives the slice keeps.
    """
    labels = predictions[names.LABEL].to_numpy()
    probabilities = predictions[names.PROBABILITY].to_numpy()
    members = _Members(predictions)
    rows = []
    for found in slices:
        chosen = members.of(found.values)
        pr_auc = _pr_auc(labels[chosen], probabilities[chosen])
        rows.append(_slice(found, pr_auc, negative_weight))
    return rows


def _slice(found: SliceCounts, pr_auc: float, negative_weight: float) -> dict[str, Any]:
    counts = found.counts
    negatives = negative_weight * counts.negatives
    share = counts.positives / (counts.positives + negatives)
    return {
        "slice": found.values,
        "examples": counts.positives + counts.negatives,
        "positives": counts.positives,
        **metrics.rates(counts),
        "pr_auc": pr_auc,
        **asdict(counts),
        "intervals": intervals.of_slice(counts, seed=intervals.SEED),
        "at_prevalence": {
            "prevalence": share,
            **metrics.rates(counts, negative_weight),
            "intervals": intervals.of_slice(counts, share=share, seed=intervals.SEED),
        },
    }


class _Members:
    """The rows of each slice; the rows are grouped once per set of columns."""

    def __init__(self, predictions: pd.DataFrame):
        self._predictions = predictions
        self._rows: dict[tuple[str, ...], dict[Any, np.ndarray]] = {}

    def of(self, values: Mapping[str, str]) -> np.ndarray:
        """Returns the row numbers of the images with these values by column."""
        columns = tuple(values)
        if columns not in self._rows:
            groups = self._predictions.groupby(list(columns), observed=True, sort=False)
            self._rows[columns] = groups.indices
        key = tuple(values.values())
        return self._rows[columns][key if len(key) > 1 else key[0]]


def _pr_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Computes average precision; NaN in a slice of one class, such as a breed of the positives."""
    if labels.all() or not labels.any():
        return math.nan
    return metrics.average_precision(labels, probabilities)


def _check_classes(labels: np.ndarray, split: str) -> None:
    for label, side in ((names.POSITIVE_LABEL, "positive"), (names.NEGATIVE_LABEL, "negative")):
        if not (labels == label).any():
            raise ValueError(
                f"split {split!r} has no {side} image among its {len(labels)}, so a model can't "
                f"be evaluated on it; request some in sampler.splits.{split}"
            )


def _check_operating_point(predictions: pd.DataFrame, threshold: float) -> None:
    reaches = metrics.is_positive(predictions[names.PROBABILITY], threshold)
    differ = reaches != predictions[names.IS_POSITIVE].to_numpy(bool)
    if differ.any():
        raise ValueError(
            f"the model's decisions must agree with its recorded threshold, {threshold}; its "
            "assets belong to another model. "
            f"Received: {int(differ.sum())} different decisions for {len(differ)} images"
        )


def _check_review(predictions: pd.DataFrame, band: Mapping[str, float] | None) -> None:
    probability = predictions[names.PROBABILITY]
    expected = np.zeros(len(predictions), bool)
    if band is not None:
        expected = metrics.is_positive(probability, band["lower"])
        expected &= ~metrics.is_positive(probability, band["upper"])
    differ = expected != predictions[names.NEEDS_REVIEW].to_numpy(bool)
    if differ.any():
        raise ValueError(
            "the model's choice of images to review must agree with its recorded review band, "
            f"{band}; its assets belong to another model. "
            f"Received: {int(differ.sum())} different choices for {len(differ)} images"
        )


def _check_tfma(counts: Confusion, slices: Sequence[SliceCounts]) -> None:
    """Checks that TFMA's counts and those of the predictions, used in the gates, agree."""
    counted = [found.counts for found in slices if not found.values]
    if counted != [counts]:
        raise RuntimeError(f"TFMA counted {counted}, but the predictions give {counts}")


def _plain(value: Any) -> Any:
    """Converts to JSON's types, with None for NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
