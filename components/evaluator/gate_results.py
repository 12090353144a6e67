"""The results of gates, as data and in words."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from components.evaluator.gates import ANOMALIES, EXPECTED_COST, Gate
from components.evaluator.more_images import LIMIT, MoreImages
from components.messages import cut

# The reason names at most this many slices; the verdict has all.
_SLICES_NAMED = 5
_LONGEST_NAME = 100
ADVICE = {
    EXPECTED_COST: "set calibrator.costs, for instance {missed: 50, false_alarm: 1}",
    "precision": "no image was predicted positive",
}
"""What to do if a metric is undefined, or why it is."""


class Outcome(enum.StrEnum):
    """The outcome of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    TOO_FEW_IMAGES = "too_few_images"


@dataclass(frozen=True)
class Compared:
    """A metric of the champion, and how the challenger's differs from it.

    Attributes:
      value: the champion's metric.
      difference: challenger minus champion.
      interval: 95 % interval of the difference.
      agrees: whether both models predict the same for every image.
    """

    value: float
    difference: float
    interval: tuple[float, float]
    agrees: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        return {
            "value": self.value,
            "difference": self.difference,
            "interval": list(self.interval),
        }


@dataclass(frozen=True)
class Found:
    """What a gate's outcome rests on: a metric of the whole split or of one slice.

    Attributes:
      value: the metric; None if it is undefined or missing, or the data was not checked.
      outcome: the outcome.
      interval: 95 % interval of the metric; None without one, as for counts.
      images: number of images that the metric rests on; None for anomalies.
      slice: value by column; empty for the whole split.
      more: images that would decide, with the outcome `TOO_FEW_IMAGES`; None if no number would.
      compared: the comparison with the champion's metric; None without one.
    """

    value: float | None
    outcome: Outcome
    interval: tuple[float, float] | None = None
    images: int | None = None
    slice: Mapping[str, str] = field(default_factory=dict)
    more: MoreImages | None = None
    compared: Compared | None = None

    @property
    def name(self) -> str:
        """The slice in words; empty for the whole split."""
        pairs = (f"{column} = {value}" for column, value in self.slice.items())
        return cut(", ".join(pairs), _LONGEST_NAME)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        return {
            "value": self.value,
            "interval": self.interval and list(self.interval),
            "images": self.images,
            "outcome": self.outcome.value,
            "more_images": self.more and asdict(self.more),
            "champion": self.compared and self.compared.to_dict(),
        }


@dataclass(frozen=True)
class GateResult:
    """The result of a gate.

    Attributes:
      gate: the gate.
      found: the metric of the whole split, or of the slice that decides.
      slices: every judged slice, the one that decides first; empty without slices.
      details: the anomalies in words, why the data was not checked, or why the model was not
        compared with the champion.
      caution: what to bear in mind about the comparison with the champion, the end of a sentence.
    """

    gate: Gate
    found: Found
    slices: tuple[Found, ...] = ()
    details: str = ""
    caution: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gate does not prevent the blessing."""
        accepted = self.gate.accepts_too_few and self.found.outcome is Outcome.TOO_FEW_IMAGES
        return accepted or self.found.outcome is Outcome.PASSED

    @property
    def may_be_missed(self) -> bool:
        """Whether the gate is passed although the interval reaches beyond its bound."""
        if not self.passed or self.found.interval is None:
            return False
        return not all(self.gate.passes(end) for end in self.found.interval)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON."""
        return {
            "gate": self.gate.text,
            "metric": self.gate.metric,
            "at_prevalence": self.gate.at_prevalence,
            **self.found.to_dict(),
            "passed": self.passed,
            "may_be_missed": self.may_be_missed,
            "slice": dict(self.found.slice) or None,
            "slices": [{"slice": dict(each.slice), **each.to_dict()} for each in self.slices],
            "description": self.describe(),
        }

    def describe(self) -> str:
        """Describes the result, e.g. `recall is 0.84, but the gate requires recall >= 0.90`."""
        if self.gate.metric == ANOMALIES:
            return self._describe_anomalies()
        if self.gate.champion and self.details:
            return self._describe_not_compared()
        return f"{self._describe_outcome()}{self.caution}"

    def _describe_outcome(self) -> str:
        match self.found.outcome:
            case Outcome.FAILED:
                return self._describe_failed()
            case Outcome.TOO_FEW_IMAGES:
                return self._describe_too_few()
            case Outcome.PASSED:
                return self._describe_passed()

    def _describe_failed(self) -> str:
        if self.found.value is None:
            advice = self.details or ADVICE.get(self.gate.metric)
            why = f" ({advice})" if advice else ""
            return (
                f"{self._metric(self.found)} is undefined{why}, "
                f"but the gate requires {self.gate.text}"
            )
        failed = [each for each in self.slices or (self.found,) if each.outcome is Outcome.FAILED]
        return f"{self._list(failed, self._figure)}, but the gate requires {self.gate.text}"

    def _describe_passed(self) -> str:
        figure = self._figure(self.found)
        if self.gate.champion:
            return f"{figure} ({self.gate.text})"
        bound = f"({self.gate.operator} {self.gate.bound:g})"
        if self.slices:
            return f"{figure} {bound}, the worst of {len(self.slices):,} slices"
        return f"{figure} {bound}{self._uncertainty()}"

    def _describe_too_few(self) -> str:
        few = [
            each for each in self.slices or (self.found,) if each.outcome is Outcome.TOO_FEW_IMAGES
        ]
        end = "which the gate accepts" if self.gate.accepts_too_few else "which counts as a failure"
        return f"too few images to tell for {self.gate.text}, {end}: {self._list(few, self._lack)}"

    def _lack(self, found: Found) -> str:
        """Says what is known of a metric, and how many more images would decide."""
        known = self._figure(found) if found.value is not None else self._metric(found)
        if self.gate.champion and found.compared is None:
            return (
                f"{known} requires at least two images of each side; of the {found.images:,} "
                "images, one side has fewer"
            )
        if found.more is None:
            return f"{known}; no number of images up to {LIMIT:,} would decide"
        return f"{known}; {found.more.describe()} would decide"

    def _figure(self, found: Found) -> str:
        """Returns the metric, with its interval and the images if the outcome rests on them."""
        if found.value is None:
            return f"{self._metric(found)} is undefined"
        if found.compared is not None:
            return _in_comparison(self._metric(found), found.value, found.compared)
        figure = f"{self._metric(found)} is {_distinct(found.value, self.gate.bound)}"
        rests = f"{found.images:,} {self.gate.rests_on}" if found.images is not None else ""
        if self.gate.by_interval and found.interval is not None:
            return f"{figure}, 95 % interval {self._ends(found.interval)} from {rests}"
        return f"{figure} from {rests}" if found.slice else figure

    def _metric(self, found: Found) -> str:
        return f"{self.gate.metric_name} in {found.name}" if found.slice else self.gate.metric_name

    def _ends(self, interval: tuple[float, float]) -> str:
        low, high = (_distinct(end, self.gate.bound, digits=2, form="f") for end in interval)
        return f"{low} to {high}"

    def _uncertainty(self) -> str:
        if self.found.interval is None or not self.may_be_missed:
            return ""
        side = "below" if self.gate.requires_high else "above"
        return (
            f", but its 95 % interval is {self._ends(self.found.interval)}: "
            f"the true {self.gate.metric_name} may be {side} the gate"
        )

    def _list(self, found: list[Found], describe: Callable[[Found], str]) -> str:
        named = "; ".join(describe(each) for each in found[:_SLICES_NAMED])
        more = len(found) - _SLICES_NAMED
        return named if more <= 0 else f"{named}; and {more:,} more slices"

    def _describe_not_compared(self) -> str:
        if self.passed:
            return f"{self.gate.text}: {self.details}"
        return f"{self.details}, but the gate requires {self.gate.text}"

    def _describe_anomalies(self) -> str:
        found = self.found.value
        if found is None:
            return f"the data was not checked for gate {self.gate.text} ({self.details})"
        noun = "anomaly" if found == 1 else "anomalies"
        counted = f"{found:,.0f} {noun} in the data"
        if self.passed:
            return f"{counted} ({self.gate.operator} {self.gate.bound:g})"
        details = self.details or "none was found"
        return f"{counted}, but the gate requires {self.gate.text}: {details}"


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be released, and why."""

    blessed: bool
    reason: str
    results: tuple[GateResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON: `blessed`, `reason` and the result of each gate."""
        gates = [result.to_dict() for result in self.results]
        return {"blessed": self.blessed, "reason": self.reason, "gates": gates}


def _in_comparison(metric: str, value: float, champion: Compared) -> str:
    figure = f"{metric} is {value:.4g}, the champion's is {champion.value:.4g}"
    if champion.agrees:
        return f"{figure}, and both models predict the same for every image"
    low, high = champion.interval
    return (
        f"{figure}: a difference of {champion.difference:+.4f}, "
        f"95 % interval {low:+.4f} to {high:+.4f}"
    )


def _distinct(value: float, bound: float, *, digits: int = 4, form: str = "g") -> str:
    """Formats `value` with `digits` digits, or more if needed to show its side of `bound`."""
    for more in range(digits, 17):
        shown = f"{value:.{more}{form}}"
        if (float(shown) < bound) == (value < bound) and (float(shown) > bound) == (value > bound):
            break
    return shown
