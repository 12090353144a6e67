"""Gates: what a model must reach to be blessed, parsed from the words of the settings.

A gate reads `<metric> <operator> <bound>`, for instance `recall >= 0.90` or `fp <= 12`.
With ` at prevalence` after it, the metric is taken as it would be at the real world's
share of positives instead of the test split's. `anomalies` counts what is other in the data
than when the schema was kept, for instance `anomalies <= 0`.
"""

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.example_validator import findings
from components.example_validator.findings import Findings

RATES = ("recall", "precision", "f1", "accuracy", "specificity", "pr_auc", "auc")
"""Metrics between 0 and 1. Those that do not change with the prevalence stay as they are."""
COUNTS = ("tp", "fp", "tn", "fn")
"""Metrics that count images of the test split."""
ANOMALIES = "anomalies"
"""How many anomalies ExampleValidator found in all images."""
METRICS = (*RATES, *COUNTS, ANOMALIES)

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GRAMMAR = "write '<metric> <operator> <number>', for instance 'recall >= 0.90'"
_GATE = re.compile(
    r"\s*(?P<metric>\w+)\s*(?P<operator>[<>=!≤≥]+)\s*(?P<bound>\S+)(?:\s+(?P<rest>\S.*?))?\s*"
)
_AT_PREVALENCE = re.compile(r"at\s+prevalence", re.IGNORECASE)


Intervals = Mapping[str, Sequence[float] | None]
"""Lower and upper end by metric, None where the metric is undefined."""


class GateError(ValueError):
    """A gate that cannot be understood, or that asks for something that cannot be."""


@dataclass(frozen=True)
class Gate:
    """One bound on one metric of the whole test split."""

    text: str
    metric: str
    operator: str
    bound: float
    at_prevalence: bool = False

    def passes(self, value: float) -> bool:
        """Whether `value` keeps the bound; NaN keeps none.

        A value that differs from the bound by rounding alone counts as equal to it.
        """
        if math.isclose(value, self.bound, rel_tol=1e-9, abs_tol=1e-12):
            value = self.bound
        return _OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True)
class GateResult:
    """What a gate found.

    Attributes:
      gate: what was asked.
      value: None where the metric is undefined or missing, or nothing was checked.
      passed: whether the gate is passed.
      details: the anomalies in words, or why none were looked for.
      interval: 95 % interval of the metric; None where it has none, as counts have none.
    """

    gate: Gate
    value: float | None
    passed: bool
    details: str = ""
    interval: tuple[float, float] | None = None

    @property
    def may_be_missed(self) -> bool:
        """Whether the gate is passed, and yet its interval reaches beyond the bound."""
        if not self.passed or self.interval is None:
            return False
        return not all(self.gate.passes(end) for end in self.interval)

    def describe(self) -> str:
        """The finding as a clause, such as `recall is 0.84, the gate asks for recall >= 0.90`."""
        if self.gate.metric == ANOMALIES:
            return self._describe_anomalies()
        name = _metric_name(self.gate)
        if self.value is None:
            return f"{name} is undefined, the gate asks for {self.gate.text}"
        value = _distinct(self.value, self.gate.bound)
        if not self.passed:
            return f"{name} is {value}, the gate asks for {self.gate.text}"
        return f"{name} is {value} ({self.gate.operator} {self.gate.bound:g}){self._doubt()}"

    def _doubt(self) -> str:
        if self.interval is None or not self.may_be_missed:
            return ""
        low, high = (_distinct(end, self.gate.bound, digits=2, form="f") for end in self.interval)
        side = "below" if self.gate.operator.startswith(">") else "above"
        return (
            f", but its 95 % interval is {low} to {high}: "
            f"the true {_metric_name(self.gate)} may be {side} the gate"
        )

    def _describe_anomalies(self) -> str:
        if self.value is None:
            return f"the data was not checked for {self.gate.text} ({self.details})"
        noun = "anomaly" if self.value == 1 else "anomalies"
        found = f"{self.value:,.0f} {noun} in the data"
        if self.passed:
            return f"{found} ({self.gate.operator} {self.gate.bound:g})"
        return f"{found}, the gate asks for {self.gate.text}: {self.details or 'none was found'}"


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be released, and why."""

    blessed: bool
    reason: str
    results: tuple[GateResult, ...]

    def to_dict(self) -> dict:
        """As plain JSON: `blessed`, `reason` and, for each gate, what was found."""
        gates = [
            {
                "gate": result.gate.text,
                "metric": result.gate.metric,
                "at_prevalence": result.gate.at_prevalence,
                "value": result.value,
                "interval": result.interval and list(result.interval),
                "passed": result.passed,
                "may_be_missed": result.may_be_missed,
            }
            for result in self.results
        ]
        return {"blessed": self.blessed, "reason": self.reason, "gates": gates}


def parse(text: str) -> Gate:
    """The gate that `text` states.

    Raises:
      GateError: the text is no gate, names no known metric, or sets a bound that its
        metric can never keep.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise GateError(f"gate {text!r} is not understood: {_GRAMMAR}")
    gate = Gate(
        text=" ".join(text.split()),
        metric=_known_metric(text, match["metric"]),
        operator=_known_operator(text, match["operator"]),
        bound=_number(text, match["bound"]),
        at_prevalence=_asks_prevalence(text, match["rest"]),
    )
    _check_reachable(gate)
    return gate


def parse_all(texts: Iterable[str]) -> list[Gate]:
    """The gates that `texts` state, in order.

    Raises:
      GateError: as `parse`.
    """
    return [parse(text) for text in texts]


def verdict(
    gates: Sequence[Gate],
    metrics: Mapping[str, float | None],
    at_prevalence: Mapping[str, float | None] | None = None,
    data_check: Findings | None = None,
    *,
    intervals: Intervals | None = None,
    intervals_at_prevalence: Intervals | None = None,
) -> Verdict:
    """Holds the metrics of the whole test split against every gate.

    A metric that is missing, None or NaN fails its gate. A gate on anomalies is passed where no
    schema is kept yet, since a first model could never be blessed otherwise; the reason says so.
    Without a gate nothing vouches for the model, so it is not blessed. A gate that is passed
    stays passed where the metric's interval reaches beyond the bound, and the reason says so.

    Args:
      gates: what is asked.
      metrics: metrics at the test split's own balance, by name.
      at_prevalence: metrics at the real world's share of positives, by name.
      data_check: ExampleValidator's findings; None fails a gate on anomalies.
      intervals: 95 % intervals of `metrics`, by name.
      intervals_at_prevalence: those of `at_prevalence`.
    """
    if not gates:
        reason = (
            "no gate is set, so nothing vouches for the model; "
            "set evaluator.gates, for instance ['recall >= 0.90']"
        )
        return Verdict(blessed=False, reason=reason, results=())
    own, world = (metrics, intervals or {}), (at_prevalence or {}, intervals_at_prevalence or {})
    results = tuple(
        _judge_data(gate, data_check)
        if gate.metric == ANOMALIES
        else _judge(gate, *(world if gate.at_prevalence else own))
        for gate in gates
    )
    failed = [result for result in results if not result.passed]
    reason = "; ".join(result.describe() for result in failed or results)
    return Verdict(blessed=not failed, reason=reason, results=results)


def _judge(gate: Gate, metrics: Mapping[str, float | None], intervals: Intervals) -> GateResult:
    value, bounds = metrics.get(gate.metric), intervals.get(gate.metric)
    if value is None or math.isnan(value):
        return GateResult(gate=gate, value=None, passed=False)
    return GateResult(
        gate=gate,
        value=float(value),
        passed=gate.passes(float(value)),
        interval=None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _judge_data(gate: Gate, data_check: Findings | None) -> GateResult:
    if data_check is None:
        return GateResult(gate, None, passed=False, details="no findings were given")
    if not data_check["checked"]:
        return GateResult(gate, None, passed=True, details=findings.NOT_CHECKED)
    anomalies = data_check["anomalies"]
    count = len(anomalies)
    details = findings.summary(data_check) if anomalies else ""
    return GateResult(gate, float(count), passed=gate.passes(count), details=details)


def _known_metric(text: str, name: str) -> str:
    if name.lower() in METRICS:
        return name.lower()
    nearest = difflib.get_close_matches(name.lower(), METRICS, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise GateError(
        f"gate {text!r} names the metric {name!r}, which is not known; "
        f"{hint}known metrics: {', '.join(METRICS)}"
    )


def _known_operator(text: str, sign: str) -> str:
    if sign in _OPERATORS:
        return sign
    raise GateError(f"gate {text!r} has the operator {sign!r}; use one of {', '.join(_OPERATORS)}")


def _number(text: str, bound: str) -> float:
    try:
        number = float(bound)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise GateError(f"gate {text!r} has the bound {bound!r}, which is not a number")
    return number


def _asks_prevalence(text: str, rest: str | None) -> bool:
    if rest is None:
        return False
    if not _AT_PREVALENCE.fullmatch(rest):
        raise GateError(f"gate {text!r} ends in {rest!r}; only 'at prevalence' may follow a bound")
    return True


def _check_reachable(gate: Gate) -> None:
    """Refuses a gate that no model can pass, which is a slip such as 90 for 0.90."""
    if gate.at_prevalence and gate.metric not in RATES:
        raise GateError(
            f"gate {gate.text!r} asks for a count at prevalence, but a count belongs to the images "
            f"that were counted; use one of {', '.join(RATES)} at prevalence"
        )
    low, high = (0.0, 1.0) if gate.metric in RATES else (0.0, math.inf)
    if not low <= gate.bound <= high:
        span = "between 0 and 1" if gate.metric in RATES else "0 or more"
        raise GateError(
            f"gate {gate.text!r} has the bound {gate.bound:g}, but {gate.metric} is {span}"
        )
    best = high if gate.operator.startswith(">") else low
    if not gate.passes(best):
        raise GateError(f"gate {gate.text!r} can never be passed; use {gate.operator}= instead")


def _metric_name(gate: Gate) -> str:
    return f"{gate.metric} at prevalence" if gate.at_prevalence else gate.metric


def _distinct(value: float, bound: float, *, digits: int = 4, form: str = "g") -> str:
    """`value` with `digits` digits or as many more as show on which side of `bound` it is."""
    for more in range(digits, 17):
        shown = f"{value:.{more}{form}}"
        if (float(shown) < bound) == (value < bound) and (float(shown) > bound) == (value > bound):
            break
    return shown
