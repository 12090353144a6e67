"""Learning curves: what more images to train on would bring.

An arm is trained on parts of its training split, smaller ones within the larger ones, in every draw
of the splits and with every seed. A figure of a training set grows with the logarithm of its size,
if only locally, so what fifty more images would bring is read off the line through two sizes that
follow each other: that to the next size, and after the largest that from the one before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator import metrics
from components.study_reporter import bootstrap, overlap, scores
from components.study_reporter.record import Arm
from components.study_reporter.scores import Draws, compared_at
from components.study_reporter.wording import plural, signed, span

POSITIVES, NEGATIVES, BALANCED = "positives", "negatives", "balanced"
"""The series of a curve: what is varied; `balanced` has as many positives as others."""

MORE = 50
"""Images whose worth is given."""

_FIGURES = ("f1", "recall", "precision")


def of_study(
    trained: Arm, prevalence: float | None, *, arm: str, series: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Returns the figures of a learning curve, as plain JSON values, on the arm's first test split.

    Args:
      trained: the trainings of all points, see `components.trainer.arm`.
      prevalence: share of positives for which thresholds are chosen on val and at which figures
        are given; None for the splits' own.
      arm: name of the arm that it is of.
      series: the indices of points by `POSITIVES`, `NEGATIVES` and `BALANCED`.

    Returns:
      `arm`; `split`, the test split; `compared_at`, the share of positives of F1, precision and
      PR-AUC, see `scores.compared_at`; `more`, which is `MORE`; `draws`; and `series`, each a list
      of points in increasing size: `positives`, `negatives`, `f1`, `recall` and `precision` at the
      own thresholds and `pr_auc`, means over replicates, see `scores.estimate`. A point of
      `positives` and `negatives` has `gain`, the difference of F1 that `MORE` more images of this
      side would bring, with its `interval`; None if it can't be computed. A point of `balanced` has
      `against_all`, the difference of F1 to as many positives with all others.
    """
    split = trained.test_splits[0]
    points = trained.metadata["points"]
    found: dict[str, Any] = {
        "arm": arm,
        "split": split,
        "compared_at": None,
        "more": MORE,
        "draws": 1,
        "series": {},
    }
    if not trained.trained:
        return {**found, "series": {name: [] for name in series}}
    curve = _Curve.of(trained, split, prevalence)
    found["compared_at"] = curve.compared_at
    found["draws"] = int(np.unique(trained.draws).size)
    for name, indices in series.items():
        known = [index for index in indices if curve.rows(index).size]
        rows = [{**points[index], **curve.figures(index)} for index in known]
        if name == BALANCED:
            whole = {points[index]["positives"]: index for index in series.get(POSITIVES, ())}
            for row, index in zip(rows, known, strict=True):
                row["against_all"] = curve.difference(index, whole[row["positives"]])
        else:
            sizes = [points[index][name] for index in known]
            for row, gain in zip(rows, curve.gains(known, sizes), strict=True):
                row["gain"] = gain
        found["series"][name] = rows
    return found


@dataclass(frozen=True)
class _Curve:
    """The replicates of all points on a test split.

    Attributes:
      arm: the trainings.
      values: the metrics of each replicate at its own threshold, and PR-AUC.
      drawn: F1 of each replicate in each resample of the images, (replicates, resamples).
      images: number of test images of the rarer class.
      compared_at: share of positives of the metrics; None for the split's own.
    """

    arm: Arm
    values: scores.Values
    drawn: NDArray[np.float64]
    images: int
    compared_at: float | None

    @classmethod
    def of(cls, arm: Arm, split: str, prevalence: float | None) -> "_Curve":
        """Evaluates the replicates."""
        found = arm.scores[split]
        thresholds = scores.own_thresholds(arm, prevalence)
        predicted = np.stack(
            [
                metrics.is_positive(row, bound)
                for row, bound in zip(found.probabilities, thresholds, strict=True)
            ]
        )
        share = compared_at(found, prevalence)
        drawn = bootstrap.rates(found.labels, predicted, present=found.present, prevalence=share)[
            "f1"
        ]
        values = scores.at_thresholds(found, thresholds)
        if share is not None:
            values |= scores.at_prevalence(values, share)
        values["pr_auc"] = scores.average_precisions(found, share)
        sides = [np.count_nonzero(found.labels == label) for label in (0, 1)]
        return cls(arm, values, drawn, int(min(sides)), share)

    def rows(self, point: int) -> NDArray[np.intp]:
        """Returns the rows of a point's trained replicates."""
        return np.flatnonzero([each.point == point for each in self.arm.trained])

    def figures(self, point: int) -> dict[str, Any]:
        """Returns the means over the replicates of a point."""
        rows = self.rows(point)
        draws = Draws(self.arm.draws[rows], overlap.of_arm(self.arm))
        return {
            name: scores.estimate(self.values[name][rows], draws=draws)
            for name in (*_FIGURES, "pr_auc")
        }

    def difference(self, first: int, second: int) -> dict[str, Any]:
        """Returns the difference of F1 of two points, with the same draws and seeds."""
        trained = self.arm.trained
        keys = [
            {(trained[row].draw, trained[row].random_state): row for row in self.rows(point)}
            for point in (first, second)
        ]
        common = sorted(keys[0].keys() & keys[1].keys())
        if not common:
            return {"difference": None, "interval": None, "p": None}
        rows = [np.array([each[key] for key in common]) for each in keys]
        f1 = self.values["f1"]
        draws = Draws(self.arm.draws[rows[0]], overlap.correlation(self.arm, self._trained_on))
        values = f1[rows[0]], f1[rows[1]]
        drawn = self.drawn[rows[0]], self.drawn[rows[1]]
        if draws.several:
            found = bootstrap.compare_draws(*values, drawn, draws=draws, images=self.images)
        else:
            found = bootstrap.compare(*values, drawn, images=self.images)
        return {key: found[key] for key in ("difference", "interval", "p")}

    @property
    def _trained_on(self) -> list[str]:
        return [self.arm.metadata["train_split"], self.arm.val_split]

    def gains(self, points: Sequence[int], sizes: Sequence[int]) -> list[dict[str, Any] | None]:
        """Returns what `MORE` more images would bring at each point.

        Args:
          points: in increasing size.
          sizes: the size of each.
        """
        if len(points) < 2:
            return [None] * len(points)
        steps = [self.difference(larger, smaller) for smaller, larger in pairwise(points)]
        logs = np.diff(np.log(sizes))
        found: list[dict[str, Any] | None] = []
        for index, size in enumerate(sizes):
            step = min(index, len(steps) - 1)
            found.append(_scaled(steps[step], math.log1p(MORE / size) / logs[step]))
        return found


def _scaled(step: Mapping[str, Any], factor: float) -> dict[str, Any] | None:
    if step["difference"] is None:
        return None
    return {
        "difference": step["difference"] * factor,
        "interval": [bound * factor for bound in step["interval"]],
    }


def sentences(curve: Mapping[str, Any]) -> list[str]:
    """States what more positives would bring against more others, and what balancing does."""
    series, found = curve["series"], []
    ends = {
        name: rows[-1]
        for name in (POSITIVES, NEGATIVES)
        if (rows := series.get(name)) and rows[-1]["gain"] is not None
    }
    parts = []
    for name, noun in ((POSITIVES, "positives"), (NEGATIVES, "others")):
        if name in ends:
            row, gain = ends[name], ends[name]["gain"]
            parts.append(
                f"{curve['more']} more {noun} than {row[name]:,} would change F1 by "
                f"{signed(gain['difference'])} (95 % interval {span(gain['interval'])})"
            )
    if parts:
        found.append(f"{', and '.join(parts)}.")
    rows = [row for row in series.get(BALANCED, ()) if row["against_all"]["difference"] is not None]
    if rows:
        shown = [row for row in rows if not _contains_zero(row["against_all"]["interval"])]
        costs = [row for row in shown if row["against_all"]["difference"] < 0]
        sentence = (
            "Balancing, with as many others as positives in place of all, raises F1 at "
            f"{len(shown) - len(costs)} of {plural(len(rows), 'number')} of positives and lowers "
            f"it at {len(costs)}; at {len(rows) - len(shown)} it can't be told from chance"
        )
        found.append(f"{sentence}; these intervals are not corrected for several comparisons.")
    return found


def _contains_zero(interval: Sequence[float]) -> bool:
    return interval[0] <= 0 <= interval[1]
