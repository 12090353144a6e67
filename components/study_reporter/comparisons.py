"""Paired comparisons of the arms that are judged on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.evaluator import metrics
from components.study_reporter import bootstrap, scores
from components.study_reporter.record import SplitScores
from components.study_reporter.scores import Values

ALL = "all"
BASELINE = "baseline"
COMPARED = ("f1", "recall", "precision", "accuracy", "pr_auc")
"""The metrics that are compared; each with all its comparisons is a family of its own."""

Pair = tuple[str, str]
"""The arm that a difference is of, and the one that is taken from it."""


@dataclass(frozen=True)
class Judged:
    """An arm on a test split.

    Attributes:
      scores: of its trained replicates.
      replicates: their numbers.
      thresholds: by `scores.THRESHOLDS`, one a replicate.
      values: what each replicate scores, by the same keys, and under None the metrics that
        no threshold enters.
    """

    scores: SplitScores
    replicates: list[int]
    thresholds: dict[str, NDArray[np.float64]]
    values: dict[str | None, Values]


Tests = Mapping[str, Mapping[str, Judged]]
"""The arms that were judged, by test split."""


def pairs(arms: Sequence[str], asked: str | Sequence[Sequence[str]], baseline: str) -> list[Pair]:
    """Which arms to compare, in order.

    Args:
      arms: all names, in the study's order.
      asked: `all` pairs, each arm with the `baseline`, or a list of pairs.
      baseline: the arm that the others are compared with; it is never the first of a pair
        unless a list says so.

    Raises:
      ValueError: an arm is unknown, or compared with itself.
    """
    _check_known([baseline], arms, "baseline")
    rest = [arm for arm in arms if arm != baseline]
    if asked == BASELINE:
        return [(arm, baseline) for arm in rest]
    if asked == ALL:
        return [(later, former) for former, later in combinations([baseline, *rest], 2)]
    if isinstance(asked, str) or not all(len(pair) == 2 for pair in asked):
        raise ValueError(
            f"comparisons must be {ALL!r}, {BASELINE!r} or a list of pairs of arms. "
            f"Received: {asked!r}"
        )
    for pair in asked:
        _check_known(pair, arms, "comparisons")
        if pair[0] == pair[1]:
            raise ValueError(f"comparisons: arm {pair[0]!r} is compared with itself; name another")
    return list(dict.fromkeys((first, second) for first, second in asked))


def compare_all(tests: Tests, wanted: Sequence[Pair]) -> list[dict[str, Any]]:
    """Differences of the compared metrics, with their intervals and p values.

    Args:
      tests: the judged arms by test split.
      wanted: pairs; those that share no test split or no trained replicate are left out.

    Returns:
      A row a test split, pair, metric and threshold: `split`, `metric`, `threshold` (None
      where none enters), `first`, `second`, `replicates` (how many both have), `difference`
      (first less second), `interval`, `p`, and `p_corrected` for the metric's family.
    """
    rows: list[dict[str, Any]] = []
    for split, judged in tests.items():
        if shared := _shared(judged, wanted):
            rows.extend(_compare_split(split, judged, shared))
    for metric in COMPARED:
        _correct([row for row in rows if row["metric"] == metric])
    return rows


def mcnemar_all(tests: Tests, wanted: Sequence[Pair]) -> list[dict[str, Any]]:
    """McNemar's test of each pair at each threshold, on the arms' majority decisions.

    An arm calls an image what more than half of its trained replicates call it. So an image
    counts once, as the test asks; replicates of one arm are no independent witnesses. An image on
    which just as many say either counts for neither arm: any rule that broke the tie would favour
    one class.
    The test takes these models as they are: it tells whether they differ, and not, as the
    bootstrap does, whether other seeds of the same arms would. So the answer rests on the
    bootstrap.

    Returns:
      Rows of `split`, `threshold`, `first`, `second`, `only_first` and `only_second` (images
      that only one of the two gets right), `p` (mid-p) and `p_corrected`, over all rows.
    """
    rows = []
    for split, judged in tests.items():
        for first, second in _shared(judged, wanted):
            for threshold in scores.THRESHOLDS:
                leads = [_lead_of_right(judged[arm], threshold) for arm in (first, second)]
                only_first = int(np.count_nonzero((leads[0] > 0) & (leads[1] < 0)))
                only_second = int(np.count_nonzero((leads[1] > 0) & (leads[0] < 0)))
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
    _correct(rows)
    return rows


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided mid-p value of McNemar's test.

    Source: M. Fagerland, S. Lydersen, P. Laake, The McNemar Test for Binary Matched-Pairs
    Data: Mid-p and Asymptotic Are Better Than Exact Conditional, BMC Medical Research
    Methodology 13 (2013).

    Args:
      only_first: images that only the first gets right.
      only_second: images that only the second does.
    """
    fewer, discordant = min(only_first, only_second), only_first + only_second
    if not discordant:
        return 1.0
    below = special.bdtr(fewer - 1, discordant, 0.5) if fewer else 0.0
    return float(min(1.0, special.bdtr(fewer, discordant, 0.5) + below))


def _shared(judged: Mapping[str, Judged], wanted: Sequence[Pair]) -> list[Pair]:
    """Those of the wanted pairs that were judged, and have a trained replicate in common."""
    return [
        (first, second)
        for first, second in wanted
        if first in judged
        and second in judged
        and set(judged[first].replicates) & set(judged[second].replicates)
    ]


def _check_known(asked: Sequence[str], arms: Sequence[str], key: str) -> None:
    for arm in asked:
        if arm not in arms:
            raise ValueError(f"{key} names arm {arm!r}; the arms of the study are {list(arms)}")


def _compare_split(
    split: str, judged: Mapping[str, Judged], found: Sequence[Pair]
) -> list[dict[str, Any]]:
    draw = _Draws.of(judged)
    rows = []
    for metric in COMPARED:
        thresholds = (None,) if metric in scores.FREE else scores.THRESHOLDS
        for threshold in thresholds:
            drawn = draw.values(metric, threshold)
            for first, second in found:
                rows.append(
                    {
                        "split": split,
                        "metric": metric,
                        "threshold": threshold,
                        "first": first,
                        "second": second,
                        **_compare_pair(
                            (judged[first], judged[second]),
                            (drawn[first], drawn[second]),
                            metric,
                            threshold,
                        ),
                    }
                )
    return rows


def _compare_pair(
    arms: tuple[Judged, Judged],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    metric: str,
    threshold: str | None,
) -> dict[str, Any]:
    common = sorted(set(arms[0].replicates) & set(arms[1].replicates))
    rows = [[arm.replicates.index(number) for number in common] for arm in arms]
    first, second = (
        arm.values[threshold][metric][chosen] for arm, chosen in zip(arms, rows, strict=True)
    )
    labels = arms[0].scores.labels
    found = bootstrap.compare(
        first,
        second,
        (drawn[0][rows[0]], drawn[1][rows[1]]),
        images=int(min(np.count_nonzero(labels == 1), np.count_nonzero(labels == 0))),
    )
    return {"replicates": len(common), **found}


@dataclass
class _Draws:
    """Every metric of every arm on one test split, in draws of its images."""

    judged: Mapping[str, Judged]
    labels: NDArray[np.int64]
    places: dict[str, slice]
    _rates: dict[str, dict[str, NDArray[np.float64]]]

    @classmethod
    def of(cls, judged: Mapping[str, Judged]) -> "_Draws":
        ends = np.cumsum([len(arm.replicates) for arm in judged.values()]).tolist()
        places = {
            name: slice(end - len(arm.replicates), end)
            for (name, arm), end in zip(judged.items(), ends, strict=True)
        }
        labels = next(iter(judged.values())).scores.labels
        return cls(judged, labels, places, {})

    def values(self, metric: str, threshold: str | None) -> dict[str, NDArray[np.float64]]:
        """float64 (replicates, draws) by arm."""
        if threshold is None:
            drawn = bootstrap.average_precisions(
                self.labels,
                np.concatenate([arm.scores.probabilities for arm in self.judged.values()]),
            )
        else:
            drawn = self._at(threshold)[metric]
        return {name: drawn[place] for name, place in self.places.items()}

    def _at(self, threshold: str) -> dict[str, NDArray[np.float64]]:
        """Draws are made once for all metrics."""
        if threshold not in self._rates:
            called = [called_positive(arm, threshold) for arm in self.judged.values()]
            self._rates[threshold] = bootstrap.rates(self.labels, np.concatenate(called))
        return self._rates[threshold]


def called_positive(arm: Judged, threshold: str) -> NDArray[np.bool_]:
    """What each replicate calls positive, (replicates, n)."""
    bounds = arm.thresholds[threshold]
    rows = zip(arm.scores.probabilities, bounds, strict=True)
    return np.stack([metrics.is_positive(row, bound) for row, bound in rows])


def _lead_of_right(arm: Judged, threshold: str) -> NDArray[np.int64]:
    """By how many replicates those that are right about an image lead; below 0 they trail."""
    right = called_positive(arm, threshold) == (arm.scores.labels == 1)
    return 2 * np.count_nonzero(right, axis=0) - len(right)


def _correct(rows: list[dict[str, Any]]) -> None:
    """Adds the corrected p values of a family; None where a metric is undefined."""
    tested = [row for row in rows if row["p"] is not None]
    for row in rows:
        row["p_corrected"] = None
    corrected = bootstrap.holm([row["p"] for row in tested])
    for row, p in zip(tested, corrected, strict=True):
        row["p_corrected"] = p
