"""The arms of a test split side by side: who leads, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.study_reporter.wording import plural

SIGNIFICANCE = 0.05
"""A difference counts as shown where its corrected p value is below this."""


@dataclass(frozen=True)
class Difference:
    """The difference of two arms' means, first less second.

    Attributes:
      first: name of an arm.
      second: name of the other.
      value: the difference.
      interval: of it.
      p: corrected.
    """

    first: str
    second: str
    value: float
    interval: tuple[float, float]
    p: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than chance would give."""
        return self.p < SIGNIFICANCE

    def seen_from(self, arm: str) -> "Difference":
        """The same with `arm` first."""
        if arm == self.first:
            return self
        low, high = self.interval
        return Difference(self.second, self.first, -self.value, (-high, -low), self.p)


@dataclass(frozen=True)
class Contest:
    """The arms of a test split by one metric at one threshold.

    Attributes:
      metric: one of the compared ones.
      means: over replicates, by arm; arms whose metric is undefined are not there.
      differences: of the pairs that were compared.
      images: in the test split.
      replicates: the fewest that two compared arms have in common, or that an arm has.
    """

    metric: str
    means: Mapping[str, float]
    differences: Sequence[Difference]
    images: int
    replicates: int

    @property
    def best(self) -> str:
        """The arm with the highest mean, the first of several."""
        return max(self.means, key=lambda arm: self.means[arm])

    @property
    def worst(self) -> str:
        """The arm with the lowest mean, the last of several."""
        return min(reversed(list(self.means)), key=lambda arm: self.means[arm])

    @property
    def gap(self) -> float:
        """Between the best and the worst."""
        return self.means[self.best] - self.means[self.worst]

    @property
    def shown(self) -> list[Difference]:
        """The differences that are more than chance would give."""
        return [each for each in self.differences if each.is_shown]

    def from_best(self) -> dict[str, Difference]:
        """The best arm's lead over each arm that it was compared with, the closest first."""
        best = self.best
        leads = [
            each.seen_from(best) for each in self.differences if best in (each.first, each.second)
        ]
        leads.sort(key=lambda lead: -self.means[lead.second])
        return {lead.second: lead for lead in leads}

    @property
    def evidence(self) -> str:
        """What there was to see a difference with."""
        return f"{plural(self.images, 'image')} and {plural(self.replicates, 'replicate')}"


def contest_of(
    figures: Mapping[str, Any], split: str, metric: str, threshold: str | None
) -> Contest:
    """The contest of the arms that were judged on a test split."""
    arms = {arm["arm"]: arm for arm in figures["arms"] if split in arm["tests"]}
    tests = {name: arm["tests"][split] for name, arm in arms.items()}
    means = {
        name: (test if threshold is None else test[threshold])[metric]["mean"]
        for name, test in tests.items()
    }
    rows = [
        row
        for row in figures["comparisons"]
        if (row["split"], row["metric"], row["threshold"]) == (split, metric, threshold)
        and row["p_corrected"] is not None
    ]
    sizes = figures["splits"][split]
    trained = [len(arm["replicates"]["trained"]) for arm in arms.values()]
    return Contest(
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
            for row in rows
        ],
        images=sizes["positives"] + sizes["negatives"],
        replicates=min([row["replicates"] for row in rows] or trained),
    )
