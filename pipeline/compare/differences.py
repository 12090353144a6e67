"""Compares two models on the same images: each metric's paired difference with its interval.

Both models judged the same photographs, so the photographs' own luck cancels in the difference, and
its interval is narrower than the two models' intervals suggest. The metrics' intervals come from a
paired bootstrap over the images, see `components.study_reporter.bootstrap`; those of a slice from
Bonett and Price's closed form, which is also valid for a few images.

Source of the latter: D. Bonett and R. Price, Adjusted Wald Confidence Interval for a Difference of
Binomial Proportions Based on Paired Data, Journal of Educational and Behavioral Statistics 37
(2012).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from components import names
from components.evaluator import intervals, metrics
from components.study_reporter import bootstrap
from components.study_reporter.p_values import holm, mcnemar

AT_PREVALENCE = "prevalence"
OWN_BALANCE = "test"
RATES = ("f1", "precision", "recall", "accuracy")
AREA = "pr_auc"

_QUANTILE = float(special.ndtri((1 + intervals.CONFIDENCE) / 2))
_FEW_VALUES = 200


class PairError(ValueError):
    """Two runs can't be compared; the message says why."""


@dataclass(frozen=True)
class Pair:
    """The images that two models have in common, with what each of them predicts.

    Attributes:
      labels: int64 (n,), 1 for the positive class; both classes occur.
      probabilities: float32 (2, n), of the first model and of the second.
      predicted: bool (2, n), the images that each classifies as positive.
      rows: what the second run knows of the images, (n,) rows.
      counts: images in both runs, only in the `first`, only in the `second`, and with
        `other_label`, which are not compared.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    predicted: NDArray[np.bool_]
    rows: pd.DataFrame
    counts: dict[str, int]

    @classmethod
    def of(cls, first: pd.DataFrame, second: pd.DataFrame) -> "Pair":
        """Pairs the predictions of two models.

        Args:
          first: one row per image, indexed by image_id.
          second: as `first`.

        Raises:
          PairError: the runs have no image, or no image of one of the sides, in common.
        """
        common = first.index.intersection(second.index).sort_values()
        same = (first.loc[common, names.LABEL] == second.loc[common, names.LABEL]).to_numpy()
        kept = common[same]
        labels = first.loc[kept, names.LABEL].to_numpy(np.int64)
        positives = int(labels.sum())
        if positives in (0, len(labels)):
            raise PairError(
                "two runs are compared on the images that both evaluated, so they must have "
                "positive and negative images in common: use the same data, splits and "
                f"sampler.random_state. Received: {positives} positive and "
                f"{len(labels) - positives} negative images in common, of {len(first)} and "
                f"{len(second)}"
            )
        models = [table.loc[kept] for table in (first, second)]
        return cls(
            labels=labels,
            probabilities=np.stack(
                [model[names.PROBABILITY].to_numpy(np.float32) for model in models]
            ),
            predicted=np.stack([model[names.IS_POSITIVE].to_numpy(bool) for model in models]),
            rows=models[1],
            counts={
                "both": len(kept),
                "positives": positives,
                "only_first": len(first) - len(common),
                "only_second": len(second) - len(common),
                "other_label": len(common) - len(kept),
            },
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each model classifies each image correctly, bool (2, n)."""
        return self.predicted == (self.labels == 1)


def of_metrics(pair: Pair, prevalence: float) -> list[dict[str, Any]]:
    """Compares the metrics of the two models, each at its own threshold.

    Args:
      pair: the images and predictions.
      prevalence: share of positives in the real world.

    Returns:
      One row per balance (`prevalence`, then `test`, the images' own) and metric: `balance`,
      `metric`, `first`, `second`, `difference` (second minus first), `interval` (95 %) and `p`,
      two-sided; None if the metric is undefined.
    """
    return [
        row
        for balance, share in ((AT_PREVALENCE, prevalence), (OWN_BALANCE, None))
        for row in _at_balance(pair, balance, share)
    ]


def _at_balance(pair: Pair, balance: str, prevalence: float | None) -> Iterator[dict[str, Any]]:
    positives = int(pair.labels.sum())
    negatives = len(pair.labels) - positives
    drawn = bootstrap.rates(pair.labels, pair.predicted, prevalence=prevalence)
    drawn[AREA] = bootstrap.average_precisions(
        pair.labels, pair.probabilities, prevalence=prevalence
    )
    share = positives / len(pair.labels) if prevalence is None else prevalence
    found = [_values(pair, model, share) for model in (0, 1)]
    for metric in (*RATES, AREA):
        first, second = (values[metric] for values in found)
        compared = bootstrap.compare(
            np.array([second]),
            np.array([first]),
            (drawn[metric][1:], drawn[metric][:1]),
            images=min(positives, negatives),
        )
        yield {
            "balance": balance,
            "metric": metric,
            "first": _defined(first),
            "second": _defined(second),
            **compared,
        }


def _values(pair: Pair, model: int, prevalence: float) -> dict[str, float]:
    counts = metrics.confusion(pair.labels, pair.predicted[model])
    found = metrics.rates_at_prevalence(counts.recall, counts.false_positive_rate, prevalence)
    area = metrics.average_precision(pair.labels, pair.probabilities[model], prevalence)
    return {**{name: float(found[name]) for name in RATES}, AREA: area}


def of_decisions(pair: Pair) -> list[dict[str, Any]]:
    """Counts the images that one model or both classify correctly, by side.

    Returns:
      One row for the `positive` images and one for the `negative`: `both`, `only_first`,
      `only_second`, `neither`, and the mid-p value of McNemar's test.
    """
    rows = []
    for side, label in (("positive", 1), ("negative", 0)):
        first, second = pair.correct[:, pair.labels == label]
        only_first, only_second = int(np.sum(first & ~second)), int(np.sum(~first & second))
        rows.append(
            {
                "side": side,
                "both": int(np.sum(first & second)),
                "only_first": only_first,
                "only_second": only_second,
                "neither": int(np.sum(~first & ~second)),
                "p": mcnemar(only_first, only_second),
            }
        )
    return rows


def of_slices(pair: Pair, columns: list[str]) -> list[dict[str, Any]]:
    """Compares recall, and the share of negatives that are not called positive, within slices.

    Args:
      pair: the images and predictions.
      columns: columns of `pair.rows`; those with more than 200 values are left out.

    Returns:
      One row per value and side that has images: `column`, `value`, `metric` (`recall` or
      `specificity`), `images`, `first`, `second`, `difference` (second minus first), `interval`,
      `p`, and `p_corrected` by Holm for all rows.
    """
    rows = [
        {"column": column, "value": value, "metric": metric, **_proportions(members)}
        for column in columns
        if pair.rows[column].nunique() <= _FEW_VALUES
        for value in sorted(pair.rows[column].unique())
        for metric, label in (("recall", 1), ("specificity", 0))
        if (members := _members(pair, column, value, label)).size
    ]
    corrected = holm([row["p"] for row in rows])
    return [{**row, "p_corrected": p} for row, p in zip(rows, corrected, strict=True)]


def _members(pair: Pair, column: str, value: str, label: int) -> NDArray[np.bool_]:
    chosen = (pair.rows[column] == value).to_numpy() & (pair.labels == label)
    return pair.correct[:, chosen]


def _proportions(correct: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns the two shares of correct images, and Bonett and Price's interval."""
    first, second = correct
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(~first & second))
    images = len(first)
    lost, won = (only_first + 1) / (images + 2), (only_second + 1) / (images + 2)
    half = _QUANTILE * math.sqrt((lost + won - (won - lost) ** 2) / (images + 2))
    return {
        "images": images,
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": (only_second - only_first) / images,
        "interval": [max(-1.0, won - lost - half), min(1.0, won - lost + half)],
        "p": mcnemar(only_first, only_second),
    }


def changed_images(pair: Pair) -> list[dict[str, Any]]:
    """Lists the images that only one of the models classifies correctly, least certain last."""
    gap = np.abs(pair.probabilities[1] - pair.probabilities[0])
    changed = np.flatnonzero(pair.correct[0] != pair.correct[1])
    order = changed[np.lexsort((changed, -gap[changed]))]
    rows = pair.rows.iloc[order]
    return [
        {
            "image_id": image_id,
            "uri": uri,
            "class_name": class_name,
            "first": float(first),
            "second": float(second),
            "corrected": bool(corrected),
        }
        for image_id, uri, class_name, first, second, corrected in zip(
            rows.index,
            rows[names.URI],
            rows[names.CLASS_NAME],
            *pair.probabilities[:, order],
            pair.correct[1][order],
            strict=True,
        )
    ]


def of_settings(first: Mapping[str, str], second: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Returns the settings that differ, with the value of each run; None if it has none."""
    keys = dict.fromkeys([*first, *second])
    return [
        {"key": key, "first": first.get(key), "second": second.get(key)}
        for key in keys
        if first.get(key) != second.get(key)
    ]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
