"""Gates: the conditions under which a model is blessed, parsed from the settings.

A gate has the form `<metric> <operator> <bound>`, for instance `recall >= 0.90` or `fp <= 12`.
Followed by ` at prevalence`, the metric is computed at the real world's share of positives
instead of the test split's. `anomalies` counts the differences between the data and the kept
schema, for instance `anomalies <= 0`.
"""

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from components.example_validator import findings
from components.example_validator.findings import Findings
from components.messages import InputError

RATES = ("recall", "precision", "f1", "accuracy", "specificity", "pr_auc", "auc")
"""Metrics between 0 and 1. At prevalence, those that do not depend on it are unchanged."""
COUNTS = ("tp", "fp", "tn", "fn")
"""Metrics that count images of the test split."""
ANOMALIES = "anomalies"
"""The number of anomalies that ExampleValidator found in all images."""
METRICS = (*RATES, *COUNTS, ANOMALIES)

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GRAMMAR = "'<metric> <operator> <number>', for instance 'recall >= 0.90'"
_GATE = re.compile(
    r"\s*(?P<metric>\w+)\s*(?P<operator>[<>=!≤≥]+)\s*(?P<bound>\S+)(?:\s+(?P<rest>\S.*?))?\s*"
)
_AT_PREVALENCE = re.compile(r"at\s+prevalence", re.IGNORECASE)


Intervals = Mapping[str, Sequence[float] | None]
"""Lower and upper end by metric; None if the metric is undefined."""


class GateError(InputError):
    """A gate that is malformed, or that no model can pass."""


@dataclass(frozen=True)
class Gate:
    """One bound on one metric of the whole test split."""

    text: str
    metric: str
    operator: str
    bound: float
    at_prevalence: bool = False

    def passes(self, value: float) -> bool:
        """Returns whether `value` is within the bound; NaN never is.

        A value that differs from the bound by rounding alone counts as equal to it.
        """
        if math.isclose(value, self.bound, rel_tol=1e-9, abs_tol=1e-12):
            value = self.bound
        return _OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True)
class GateResult:
    """The result of a gate.

    Attributes:
      gate: the gate.
      value: the metric; None if it is undefined or missing, or the data was not checked.
      passed: whether the gate is passed.
      details: the anomalies in words, or why the data was not checked.
      interval: 95 % interval of the metric; None without one, as for counts.
    """

    gate: Gate
    value: float | None
    passed: bool
    details: str = ""
    interval: tuple[float, float] | None = None

    @property
    def may_be_missed(self) -> bool:
        """Whether the gate is passed although the interval reaches beyond its bound."""
        if not self.passed or self.interval is None:
            return False
        return not all(self.gate.passes(end) for end in self.interval)

    def describe(self) -> str:
        """Describes the result, e.g. `recall is 0.84, but the gate requires recall >= 0.90`."""
        if self.gate.metric == ANOMALIES:
            return self._describe_anomalies()
        name = _metric_name(self.gate)
        if self.value is None:
            return f"{name} is undefined, but the gate requires {self.gate.text}"
        value = _distinct(self.value, self.gate.bound)
        if not self.passed:
            return f"{name} is {value}, but the gate requires {self.gate.text}"
        return f"{name} is {value} ({self.gate.operator} {self.gate.bound:g}){self._uncertainty()}"

    def _uncertainty(self) -> str:
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
            return f"the data was not checked for gate {self.gate.text} ({self.details})"
        noun = "anomaly" if self.value == 1 else "anomalies"
        found = f"{self.value:,.0f} {noun} in the data"
        if self.passed:
            return f"{found} ({self.gate.operator} {self.gate.bound:g})"
        details = self.details or "none was found"
        return f"{found}, but the gate requires {self.gate.text}: {details}"


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be released, and why."""

    blessed: bool
    reason: str
    results: tuple[GateResult, ...]

    def to_dict(self) -> dict:
        """Returns plain JSON: `blessed`, `reason` and the result of each gate."""
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
    """Parses a gate.

    Raises:
      GateError: the text is malformed, the metric is unknown, or no model can pass the gate.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise GateError(f"a gate must be {_GRAMMAR}. Received: {text!r}")
    gate = Gate(
        text=" ".join(text.split()),
        metric=_known_metric(text, match["metric"]),
        operator=_known_operator(text, match["operator"]),
        bound=_number(text, match["bound"]),
        at_prevalence=_is_at_prevalence(text, match["rest"]),
    )
    _check_reachable(gate)
    return gate


def parse_all(texts: Iterable[str]) -> list[Gate]:
    """Parses gates, in order; raises as `parse`."""
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
    """Checks the metrics of the whole test split against every gate.

    A metric that is missing, None or NaN fails its gate. A gate on anomalies is passed if no
    schema has been kept yet, since a first model could never be blessed otherwise; the reason
    mentions it. Without any gate the model is not blessed. If the interval of a metric reaches
    beyond the bound, its gate is still passed, and the reason mentions it.

    Args:
      gates: the gates.
      metrics: metrics at the test split's own balance, by name.
      at_prevalence: metrics at the real world's share of positives, by name.
      data_check: ExampleValidator's findings; None fails a gate on anomalies.
      intervals: 95 % intervals of `metrics`, by name.
      intervals_at_prevalence: those of `at_prevalence`.
    """
    if not gates:
        reason = (
            "no gate is set, so the model can't be blessed; "
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
        return GateResult(gate, None, passed=False, details="there are no findings")
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
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise GateError(
        f"gate {text!r}: the metric must be one of {', '.join(METRICS)}. Received: {name!r}{hint}"
    )


def _known_operator(text: str, sign: str) -> str:
    if sign in _OPERATORS:
        return sign
    raise GateError(
        f"gate {text!r}: the operator must be one of {', '.join(_OPERATORS)}. Received: {sign!r}"
    )


def _number(text: str, bound: str) -> float:
    try:
        number = float(bound)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise GateError(f"gate {text!r}: the bound must be a number. Received: {bound!r}")
    return number


def _is_at_prevalence(text: str, rest: str | None) -> bool:
    if rest is None:
        return False
    if not _AT_PREVALENCE.fullmatch(rest):
        raise GateError(
            f"gate {text!r}: only 'at prevalence' may follow the bound. Received: {rest!r}"
        )
    return True


def _check_reachable(gate: Gate) -> None:
    """Refuses a gate that no model can pass, a mistake such as 90 for 0.90."""
    if gate.at_prevalence and gate.metric not in RATES:
        raise GateError(
            f"a metric at prevalence must be one of {', '.join(RATES)}, as counts depend on the "
            f"number of images. Received: {gate.text!r}"
        )
    low, high = (0.0, 1.0) if gate.metric in RATES else (0.0, math.inf)
    if not low <= gate.bound <= high:
        span = "between 0 and 1" if gate.metric in RATES else "0 or more"
        raise GateError(
            f"gate {gate.text!r}: the bound of {gate.metric} must be {span}. "
            f"Received: {gate.bound:g}"
        )
    best = high if gate.operator.startswith(">") else low
    if not gate.passes(best):
        raise GateError(
            f"no model can pass this gate; use {gate.operator}= instead. Received: {gate.text!r}"
        )


def _metric_name(gate: Gate) -> str:
    return f"{gate.metric} at prevalence" if gate.at_prevalence else gate.metric


def _distinct(value: float, bound: float, *, digits: int = 4, form: str = "g") -> str:
    """Formats `value` with `digits` digits, or more if needed to show its side of `bound`."""
    for more in range(digits, 17):
        shown = f"{value:.{more}{form}}"
        if (float(shown) < bound) == (value < bound) and (float(shown) > bound) == (value > bound):
            break
    return shown
