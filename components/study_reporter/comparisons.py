"""Paired comparisons of the arms that are evaluated on the same images.

If the share of positives in a test split isn't that of the real world, the arms are compared at the
latter: their thresholds are chosen for it, and precision, F1, accuracy and PR-AUC depend on it. So
a test split may contain all positives that are left, which makes smaller differences visible.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluator import metrics
from components.evaluator.probability_quality import LOSSES
from components.study_reporter import bootstrap, calibrated, overlap, scores
from components.study_reporter.calibrated import CalibratedArm
from components.study_reporter.p_values import holm, mcnemar
from components.study_reporter.ranking import SIGNIFICANCE
from components.study_reporter.record import Arm, SplitScores
from components.study_reporter.scores import Draws, Values

ALL = "all"
BASELINE = "baseline"
_F1 = "f1"
COMPARED = (_F1, "recall", "precision", "accuracy", "pr_auc")
"""The compared metrics; all comparisons in a metric are one family."""

Pair = tuple[str, str]
"""The first arm of a difference, and the arm that is subtracted from it."""


@dataclass(frozen=True)
class EvaluatedArm:
    """An arm on a test split.

    Attributes:
      scores: probabilities of its trained replicates.
      replicates: numbers of its trained replicates.
      thresholds: by `scores.THRESHOLDS`, one threshold per replicate.
      values: metrics of each replicate, by the same keys, and with the key None the metrics that
        don't depend on a threshold; at the split's own share of positives.
      calibrated: the arm before and after its replicates are calibrated on val.
      arm: the arm itself.
      draws: the draws of the splits of its trained replicates.
      at_prevalence: `scores.all_at_prevalence`; None if the study has no prevalence.
      compared_at: share of positives at which the arms are compared; None for the split's own.
    """

    scores: SplitScores
    replicates: list[int]
    thresholds: dict[str, NDArray[np.float64]]
    values: Mapping[str | None, Values]
    calibrated: CalibratedArm
    arm: Arm
    draws: Draws
    at_prevalence: Mapping[str | None, Values] | None = None
    compared_at: float | None = None

    def compared(self, metric: str, threshold: str | None) -> NDArray[np.float64]:
        """Returns a metric of each replicate, (replicates,), as it is compared."""
        own = self.values[threshold][metric]
        if self.compared_at is None or self.at_prevalence is None:
            return own
        return self.at_prevalence[threshold].get(metric, own)


Tests = Mapping[str, Mapping[str, EvaluatedArm]]
"""The arms that were evaluated, by test split."""


def pairs(
    arms: Sequence[str], requested: str | Sequence[Sequence[str]], baseline: str
) -> list[Pair]:
    """Returns the pairs of arms to compare, in order.

    Args:
      arms: all names, in the study's order.
      requested: `all` pairs, each arm with the `baseline`, or a list of pairs.
      baseline: the arm that the others are compared with; it is first in a pair only if
        `requested` lists it first.

    Raises:
      ValueError: an arm is unknown, or compared with itself.
    """
    _check_known([baseline], arms, "baseline")
    rest = [arm for arm in arms if arm != baseline]
    if requested == BASELINE:
        return [(arm, baseline) for arm in rest]
    if requested == ALL:
        return [(later, former) for former, later in combinations([baseline, *rest], 2)]
    if isinstance(requested, str) or not all(len(pair) == 2 for pair in requested):
        raise ValueError(
            f"comparisons must be {ALL!r}, {BASELINE!r} or a list of pairs of arms. "
            f"Received: {requested!r}"
        )
    for pair in requested:
        _check_known(pair, arms, "comparisons")
        if pair[0] == pair[1]:
            raise ValueError(
                f"comparisons must not compare an arm with itself. Received: {list(pair)}"
            )
    return list(dict.fromkeys((first, second) for first, second in requested))


def compare_all(tests: Tests, requested: Sequence[Pair]) -> list[dict[str, Any]]:
    """Computes the differences of all compared metrics, with their intervals and p values.

    Args:
      tests: the evaluated arms by test split.
      requested: pairs; those without a common test split or trained replicate are excluded.

    Returns:
      One row per test split, pair, metric and threshold: `split`, `metric`, `threshold` (None
      if the metric doesn't depend on one), `prevalence` (the share of positives at which the arms
      are compared; None for the split's own), `first`, `second`, `replicates` (the number of
      common ones), `difference` (first minus second), `interval`, `p`, its `error` and `freedom`,
      and for the metric's family `p_corrected` and `detectable`, the smallest difference that it
      could have shown.
    """
    rows: list[dict[str, Any]] = []
    for split, evaluated in tests.items():
        if shared := _shared(evaluated, requested):
            rows.extend(_compare_split(split, evaluated, shared))
    for metric in COMPARED:
        _add_corrected_p([row for row in rows if row["metric"] == metric])
    return rows


def calibrated_all(tests: Tests, requested: Sequence[Pair]) -> list[dict[str, Any]]:
    """Computes the differences of the arms before and after their calibration.

    Args: as `compare_all`.

    Returns:
      One row per test split, pair, metric (`f1` at a threshold of 0.5, `log_loss` and `brier`) and
      `stage`, with the other keys of `compare_all`; the rows of a metric and a stage are a family.
    """
    rows = [
        row
        for split, evaluated in tests.items()
        if (shared := _shared(evaluated, requested))
        for row in _calibrated_split(split, evaluated, shared)
    ]
    for metric in (_F1, *LOSSES):
        for stage in calibrated.STAGES:
            _add_corrected_p(
                [row for row in rows if (row["metric"], row["stage"]) == (metric, stage)]
            )
    return rows


def _calibrated_split(
    split: str, evaluated: Mapping[str, EvaluatedArm], compared: Sequence[Pair]
) -> Iterator[dict[str, Any]]:
    for metric in (_F1, *LOSSES):
        for stage in calibrated.STAGES:
            drawn = _calibrated_draws(evaluated, metric, stage)
            for first, second in compared:
                arms = evaluated[first], evaluated[second]
                found = _compare_pair(
                    arms,
                    [_calibrated_values(arm, metric, stage) for arm in arms],
                    (drawn[first], drawn[second]),
                    limit=math.inf if metric in LOSSES else 1.0,
                )
                yield {
                    "split": split,
                    "metric": metric,
                    "stage": stage,
                    "first": first,
                    "second": second,
                    **found,
                }


def _calibrated_values(arm: EvaluatedArm, metric: str, stage: str) -> NDArray[np.float64]:
    found = arm.calibrated.at_half if metric == _F1 else arm.calibrated.quality
    return found[stage][metric]


def _calibrated_draws(
    evaluated: Mapping[str, EvaluatedArm], metric: str, stage: str
) -> dict[str, NDArray[np.float64]]:
    """Returns a metric in each draw of the images, (replicates, draws) by arm."""
    arms = [arm.calibrated for arm in evaluated.values()]
    labels = arms[0].scores[stage].labels
    if metric == _F1:
        predicted = np.concatenate([arm.predicted_positive(stage) for arm in arms])
        present = np.concatenate([arm.scores[stage].present for arm in arms])
        drawn = bootstrap.rates(
            labels, predicted, present=present, prevalence=_compared_at(evaluated)
        )[_F1]
    else:
        losses = np.concatenate([arm.losses(metric, stage) for arm in arms])
        drawn = bootstrap.means(labels, losses, prevalence=arms[0].prevalence)
    ends = np.cumsum([len(arm.maps) for arm in arms])[:-1]
    return dict(zip(evaluated, np.split(drawn, ends), strict=True))


def mcnemar_all(tests: Tests, requested: Sequence[Pair]) -> list[dict[str, Any]]:
    """Computes McNemar's test of each pair at each threshold, on the majority votes of the arms.

    The class that an arm predicts for an image is that of more than half of its trained
    replicates. So each image counts once, as the test requires; replicates of one arm are not
    independent. An image with a tie counts for neither arm, since any rule to break ties would
    favour one class.

    The test takes the trained models as given: unlike the bootstrap, it doesn't account for the
    variation between seeds. So the answer is based on the bootstrap.

    Returns:
      Rows of `split`, `threshold`, `first`, `second`, `only_first` and `only_second` (the
      number of images that only this arm classifies correctly), `p` (mid-p) and `p_corrected`
      (for all rows as one family).
    """
    rows = []
    for split, evaluated in tests.items():
        for first, second in _shared(evaluated, requested):
            for threshold in scores.THRESHOLDS:
                margins = [_correct_margin(evaluated[arm], threshold) for arm in (first, second)]
                only_first = int(np.count_nonzero((margins[0] > 0) & (margins[1] < 0)))
                only_second = int(np.count_nonzero((margins[1] > 0) & (margins[0] < 0)))
                rows.append(
                    {
                        "split": split,
                        "threshold": threshold,
                        "first": first,
                        "second": second,
                        "only_first": only_first,
                        "only_second": only_second,
                        "p": mcnemar(only_first, only_second),
                    }
                )
    _add_corrected_p(rows)
    return rows


def _compared_at(evaluated: Mapping[str, EvaluatedArm]) -> float | None:
    """Returns the share of positives at which the arms of a test split are compared."""
    return next(iter(evaluated.values())).compared_at


def _shared(evaluated: Mapping[str, EvaluatedArm], requested: Sequence[Pair]) -> list[Pair]:
    """Returns the requested pairs of evaluated arms with a common trained replicate."""
    return [
        (first, second)
        for first, second in requested
        if first in evaluated
        and second in evaluated
        and set(evaluated[first].replicates) & set(evaluated[second].replicates)
    ]


def _check_known(names: Sequence[str], arms: Sequence[str], key: str) -> None:
    for name in names:
        if name not in arms:
            raise ValueError(
                f"{key} must contain only arms of the study: {list(arms)}. Received: {name!r}"
            )


def _compare_split(
    split: str, evaluated: Mapping[str, EvaluatedArm], compared: Sequence[Pair]
) -> list[dict[str, Any]]:
    draws = _Draws.of(evaluated)
    rows = []
    for metric in COMPARED:
        thresholds = (None,) if metric in scores.THRESHOLD_FREE else scores.THRESHOLDS
        for threshold in thresholds:
            drawn = draws.values(metric, threshold)
            for first, second in compared:
                rows.append(
                    {
                        "split": split,
                        "metric": metric,
                        "threshold": threshold,
                        "prevalence": _compared_at(evaluated),
                        "first": first,
                        "second": second,
                        **_compare_pair(
                            (evaluated[first], evaluated[second]),
                            [evaluated[arm].compared(metric, threshold) for arm in (first, second)],
                            (drawn[first], drawn[second]),
                        ),
                    }
                )
    return rows


def _compare_pair(
    arms: tuple[EvaluatedArm, EvaluatedArm],
    values: Sequence[NDArray[np.float64]],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    limit: float = 1.0,
) -> dict[str, Any]:
    common = sorted(set(arms[0].replicates) & set(arms[1].replicates))
    rows = [[arm.replicates.index(number) for number in common] for arm in arms]
    first, second = (each[row] for each, row in zip(values, rows, strict=True))
    labels = arms[0].scores.labels
    images = int(min(np.count_nonzero(labels == 1), np.count_nonzero(labels == 0)))
    resampled = drawn[0][rows[0]], drawn[1][rows[1]]
    draws = Draws(arms[0].draws.of_replicates[rows[0]], overlap.of_pair(arms[0].arm, arms[1].arm))
    if draws.several:
        found = bootstrap.compare_draws(
            first, second, resampled, draws=draws, images=images, limit=limit
        )
    else:
        found = bootstrap.compare(first, second, resampled, images=images, limit=limit)
    return {"replicates": len(common), **found}


@dataclass
class _Draws:
    """The metrics of all arms on one test split, in each draw of its images.

    Attributes:
      evaluated: the arms, by name.
      labels: int64 (n,), 1 for the positive class.
      slices: the rows of each arm's replicates.
    """

    evaluated: Mapping[str, EvaluatedArm]
    labels: NDArray[np.int64]
    slices: dict[str, slice]
    _rates: dict[str, dict[str, NDArray[np.float64]]]

    @classmethod
    def of(cls, evaluated: Mapping[str, EvaluatedArm]) -> "_Draws":
        ends = np.cumsum([len(arm.replicates) for arm in evaluated.values()]).tolist()
        slices = {
            name: slice(end - len(arm.replicates), end)
            for (name, arm), end in zip(evaluated.items(), ends, strict=True)
        }
        labels = next(iter(evaluated.values())).scores.labels
        return cls(evaluated, labels, slices, {})

    def values(self, metric: str, threshold: str | None) -> dict[str, NDArray[np.float64]]:
        """Returns a metric in each draw, float64 (replicates, draws) by arm."""
        if threshold is None:
            drawn = bootstrap.average_precisions(
                self.labels,
                np.concatenate([arm.scores.probabilities for arm in self.evaluated.values()]),
                prevalence=_compared_at(self.evaluated),
            )
        else:
            drawn = self._at(threshold)[metric]
        return {name: drawn[rows] for name, rows in self.slices.items()}

    def _at(self, threshold: str) -> dict[str, NDArray[np.float64]]:
        """Returns the rates at a threshold; computes them once for all metrics."""
        if threshold not in self._rates:
            predicted = [predicted_positive(arm, threshold) for arm in self.evaluated.values()]
            present = [arm.scores.present for arm in self.evaluated.values()]
            self._rates[threshold] = bootstrap.rates(
                self.labels,
                np.concatenate(predicted),
                present=np.concatenate(present),
                prevalence=_compared_at(self.evaluated),
            )
        return self._rates[threshold]


def predicted_positive(arm: EvaluatedArm, threshold: str) -> NDArray[np.bool_]:
    """Returns the images that each replicate classifies as positive, (replicates, n)."""
    bounds = arm.thresholds[threshold]
    # NaN, an image that a replicate is not tested on, is not positive.
    rows = zip(arm.scores.probabilities, bounds, strict=True)
    return np.stack([metrics.is_positive(row, bound) for row, bound in rows])


def _correct_margin(arm: EvaluatedArm, threshold: str) -> NDArray[np.int64]:
    """Returns correct minus incorrect replicates for each image, (n,)."""
    present = arm.scores.present
    correct = (predicted_positive(arm, threshold) == (arm.scores.labels == 1)) & present
    return 2 * np.count_nonzero(correct, axis=0) - np.count_nonzero(present, axis=0)


def _add_corrected_p(rows: list[dict[str, Any]]) -> None:
    """Adds the corrected p values of a family, and with an error what it could have shown.

    A difference is shown if its p value, times the number of comparisons, is below the level: of
    one true difference among them this is Holm's first step. Values are None if a metric is
    undefined.
    """
    tested = [row for row in rows if row["p"] is not None]
    for row in rows:
        row["p_corrected"] = None
        if "error" in row:
            row["detectable"] = None
    corrected = holm([row["p"] for row in tested])
    for row, p in zip(tested, corrected, strict=True):
        row["p_corrected"] = p
        if "error" in row:
            row["detectable"] = bootstrap.detectable(
                row["error"], row["freedom"], SIGNIFICANCE / len(tested)
            )
