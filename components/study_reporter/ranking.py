"""Ranks the arms of a test split, with the size and certainty of their differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.study_reporter.wording import LABELS, plural

SIGNIFICANCE = 0.05
"""A difference counts as shown if its corrected p value is below this."""


@dataclass(frozen=True)
class Difference:
    """The difference of two arms' means, first minus second.

    Attributes:
      first: name of the first arm.
      second: name of the second arm.
      value: the difference.
      interval: its 95 % interval.
      p: corrected p value.
    """

    first: str
    second: str
    value: float
    interval: tuple[float, float]
    p: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is significant."""
        return self.p < SIGNIFICANCE

    def with_first(self, arm: str) -> "Difference":
        """Returns the same difference with `arm` first."""
        if arm == self.first:
            return self
        low, high = self.interval
        return Difference(self.second, self.first, -self.value, (-high, -low), self.p)


@dataclass(frozen=True)
class Ranking:
    """The arms of a test split by one metric at one threshold.

    Attributes:
      metric: a compared metric.
      means: means over replicates, by arm; without arms whose metric is undefined.
      differences: differences of the compared pairs.
      images: number of images in the test split, over all draws of the splits.
      replicates: the fewest common replicates of a compared pair, or the fewest of an arm if no
        pair was compared.
      draws: number of draws of the splits.
      compared_at: share of positives at which the arms are compared; None for the split's own.
    """

    metric: str
    means: Mapping[str, float]
    differences: Sequence[Difference]
    images: int
    replicates: int
    draws: int = 1
    compared_at: float | None = None

    @property
    def label(self) -> str:
        """The name of the metric in a sentence."""
        return compared_label(self.metric, self.compared_at)

    @property
    def best(self) -> str:
        """The arm with the highest mean; the first in case of a tie."""
        return max(self.means, key=lambda arm: self.means[arm])

    @property
    def worst(self) -> str:
        """The arm with the lowest mean; the last in case of a tie."""
        return min(reversed(list(self.means)), key=lambda arm: self.means[arm])

    @property
    def gap(self) -> float:
        """The difference between the best and the worst mean."""
        return self.means[self.best] - self.means[self.worst]

    @property
    def shown(self) -> list[Difference]:
        """The significant differences."""
        return [each for each in self.differences if each.is_shown]

    def leads_of_best(self) -> dict[str, Difference]:
        """Returns the best arm's lead over each arm that it was compared with, closest first."""
        best = self.best
        leads = [
            each.with_first(best) for each in self.differences if best in (each.first, each.second)
        ]
        leads.sort(key=lambda lead: -self.means[lead.second])
        return {lead.second: lead for lead in leads}

    @property
    def evidence(self) -> str:
        """The number of images, draws of the splits and replicates, as text."""
        images, replicates = plural(self.images, "image"), plural(self.replicates, "replicate")
        if self.draws == 1:
            return f"{images} and {replicates}"
        return f"{images}, {self.draws} draws of the splits and {replicates}"


def ranking_of(
    figures: Mapping[str, Any], split: str, metric: str, threshold: str | None
) -> Ranking:
    """Returns the ranking of the arms that were evaluated on a test split.

    Args:
      figures: content of `study.json` without the answer.
      split: a test split.
      metric: a compared metric.
      threshold: one of `scores.THRESHOLDS`; None if the metric doesn't depend on one.
    """
    means = {
        name: compared_figures(test, threshold)[metric]["mean"]
        for name, test in _tests(figures, split).items()
    }
    rows = [
        row
        for row in figures["comparisons"]
        if (row["split"], row["metric"], row["threshold"]) == (split, metric, threshold)
    ]
    return _ranking(figures, split, metric, means, rows)


def calibrated_ranking_of(figures: Mapping[str, Any], split: str, stage: str) -> Ranking:
    """Returns the ranking by F1 at a threshold of 0.5, before or after calibration.

    Args:
      figures: content of `study.json` without the answer.
      split: a test split.
      stage: one of `calibrated.STAGES`.
    """
    means = {
        name: test["calibration"][stage]["f1"]["mean"]
        for name, test in _tests(figures, split).items()
    }
    rows = [
        row
        for row in figures["calibration"]["comparisons"]
        if (row["split"], row["metric"], row["stage"]) == (split, "f1", stage)
    ]
    return _ranking(figures, split, "f1", means, rows)


def compared_figures(test: Mapping[str, Any], threshold: str | None) -> Mapping[str, Any]:
    """Returns the figures of an arm on a test split as they are compared.

    Args:
      test: the arm's entry of the split in `study.json`.
      threshold: one of `scores.THRESHOLDS`; None for the metrics that don't depend on one.

    Returns:
      Estimates by metric: at the real world's share of positives, if that of the split is another.
    """
    balances = [test, *([test["at_prevalence"]] if test["compared_at"] is not None else [])]
    return {
        metric: found
        for each in balances
        for metric, found in (each if threshold is None else each[threshold]).items()
    }


def compared_label(metric: str, compared_at: float | None) -> str:
    """Returns the name of a metric in a sentence.

    Args:
      metric: a compared metric.
      compared_at: the share of positives at which arms are compared; None for the split's own.
    """
    depends = metric != "recall"  # recall is of positives only
    return f"real-world {LABELS[metric]}" if compared_at and depends else LABELS[metric]


def _tests(figures: Mapping[str, Any], split: str) -> dict[str, Mapping[str, Any]]:
    return {arm["arm"]: arm["tests"][split] for arm in figures["arms"] if split in arm["tests"]}


def _ranking(
    figures: Mapping[str, Any],
    split: str,
    metric: str,
    means: Mapping[str, float | None],
    rows: Sequence[Mapping[str, Any]],
) -> Ranking:
    tested = [row for row in rows if row["p_corrected"] is not None]
    sizes = figures["splits"][split]
    trained = [
        len(arm["replicates"]["trained"]) for arm in figures["arms"] if split in arm["tests"]
    ]
    (compared_at,) = {test["compared_at"] for test in _tests(figures, split).values()}
    return Ranking(
        metric=metric,
        means={name: mean for name, mean in means.items() if mean is not None},
        differences=[
            Difference(
                first=row["first"],
                second=row["second"],
                value=row["difference"],
                interval=(row["interval"][0], row["interval"][1]),
                p=row["p_corrected"],
            )
            for row in tested
        ],
        images=sizes.get("images", sizes["positives"] + sizes["negatives"]),
        replicates=min([row["replicates"] for row in tested] or trained),
        draws=figures["method"]["split_draws"],
        compared_at=compared_at,
    )
