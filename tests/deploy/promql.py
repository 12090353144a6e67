"""Evaluates rules of Prometheus over given series, as `promtool test rules` does.

The expressions are parsed by `promql-parser`. Of PromQL it evaluates what the rules of this project
use, and raises `NotImplementedError` for anything else. The semantics are those of Prometheus 3:
https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import math
import operator
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import promql_parser as ast

NAME = "__name__"
LOOKBACK_SECONDS = 300.0

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float

_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan if a == 0 or math.isnan(a) else math.inf * a,
}
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": len,
}


@dataclass
class Series:
    """Samples in the order of their times, in seconds; None marks the series as stale."""

    times: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def at(self, time: float) -> float | None:
        """The newest sample, unless it is too old or the series is stale."""
        end = bisect_right(self.times, time)
        if end == 0 or self.times[end - 1] <= time - LOOKBACK_SECONDS:
            return None
        return self.values[end - 1]

    def within(self, time: float, seconds: float) -> list[tuple[float, float]]:
        """Times and values of the samples of a range, which does not contain its start."""
        first, end = bisect_right(self.times, time - seconds), bisect_right(self.times, time)
        pairs = zip(self.times[first:end], self.values[first:end], strict=True)
        return [(at, value) for at, value in pairs if value is not None]

    def last_within(self, time: float, seconds: float) -> float | None:
        """The newest sample of a range; None if the range has none."""
        first, end = bisect_right(self.times, time - seconds), bisect_right(self.times, time)
        values = (self.values[index] for index in range(end - 1, first - 1, -1))
        return next((value for value in values if value is not None), None)


Storage = defaultdict[str, dict[Labels, Series]]
Query = Callable[[Storage, float], Value]


def storage() -> Storage:
    """An empty one: series by the metric's name and by all labels."""
    return defaultdict(dict)


def append(stored: Storage, labels: Labels, time: float, value: float | None) -> None:
    """Adds a sample to a series."""
    series = stored[dict(labels)[NAME]].setdefault(labels, Series())
    series.times.append(time)
    series.values.append(value)


def query(expression: str) -> Query:
    """A function that evaluates an expression at a time.

    Raises:
      NotImplementedError: the expression has a part that this module does not evaluate.
      ValueError: the expression is not PromQL.
    """
    return _compile(ast.parse(expression))


def metrics(expression: str) -> set[str]:
    """The names of the metrics that an expression reads."""
    found: list[ast.VectorSelector] = []

    def visit(node: ast.Expr) -> None:
        if isinstance(node, ast.VectorSelector):
            found.append(node)
        if isinstance(node, ast.MatrixSelector):
            found.append(node.vector_selector)

    ast.walk(ast.parse(expression), pre_visit=visit)
    return {str(selector.name) for selector in found}


def _compile(node: ast.Expr) -> Query:
    match node:
        case ast.ParenExpr():
            return _compile(node.expr)
        case ast.NumberLiteral():
            value = float(node.val)
            return lambda stored, time: value
        case ast.VectorSelector():
            return _instant(node)
        case ast.AggregateExpr():
            return _aggregation(node)
        case ast.BinaryExpr():
            return _binary(node)
        case ast.Call():
            return _call(node)
    raise NotImplementedError(node.prettify())


def _instant(node: ast.VectorSelector) -> Query:
    select, offset = _selection(node)

    def evaluate(stored: Storage, time: float) -> Vector:
        found = ((labels, series.at(time - offset)) for labels, series in select(stored))
        return {labels: value for labels, value in found if value is not None}

    return evaluate


def _selection(
    node: ast.VectorSelector,
) -> tuple[Callable[[Storage], Iterable[tuple[Labels, Series]]], float]:
    if node.at is not None or node.matchers.or_matchers or not node.name:
        raise NotImplementedError(node.prettify())
    name = str(node.name)
    conditions = [(m.name, _condition(m)) for m in node.matchers.matchers]

    @cache
    def matches(labels: Labels) -> bool:
        values = dict(labels)
        return all(holds(values.get(label, "")) for label, holds in conditions)

    def select(stored: Storage) -> Iterable[tuple[Labels, Series]]:
        return [item for item in stored[name].items() if matches(item[0])]

    return select, _offset_seconds(node)


def _offset_seconds(node: ast.VectorSelector) -> float:
    return node.offset.total_seconds() if node.offset is not None else 0.0


def _condition(matcher: ast.Matcher) -> Callable[[str], bool]:
    kind, value = matcher.op, matcher.value
    negated = kind in (ast.MatchOp.NotEqual, ast.MatchOp.NotRe)
    exact = kind in (ast.MatchOp.Equal, ast.MatchOp.NotEqual)
    pattern = re.compile(re.escape(value) if exact else value)
    return lambda found: (pattern.fullmatch(found) is None) == negated


def _unnamed(labels: Labels) -> Labels:
    return frozenset(item for item in labels if item[0] != NAME)


def _only(labels: Labels, names: Iterable[str]) -> Labels:
    kept = set(names)
    return frozenset(item for item in labels if item[0] in kept)


def _without(labels: Labels, names: Iterable[str]) -> Labels:
    left_out = {*names, NAME}
    return frozenset(item for item in labels if item[0] not in left_out)


def _aggregation(node: ast.AggregateExpr) -> Query:
    combine = _AGGREGATIONS.get(str(node.op))
    if combine is None or node.param is not None:
        raise NotImplementedError(node.prettify())
    inner, modifier = _compile(node.expr), node.modifier
    names = list(modifier.labels) if modifier else []
    keep = _without if modifier and modifier.type == ast.AggModifierType.Without else _only

    def evaluate(stored: Storage, time: float) -> Vector:
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in _vector(inner(stored, time)).items():
            groups[keep(labels, names)].append(value)
        return {labels: float(combine(values)) for labels, values in groups.items()}

    return evaluate


def _vector(value: Value) -> Vector:
    if not isinstance(value, dict):
        raise TypeError(f"must be a vector. Received: {value!r}")
    return value


@dataclass(frozen=True)
class _Matching:
    """How the series of two vectors are paired.

    Attributes:
      signature: the labels that both of a pair have.
      kept: the labels of a pair's result, of those on the left.
      many: whether several on the left may be paired with one on the right.
      taken: labels of the result that are those on the right.
    """

    signature: Callable[[Labels], Labels]
    kept: Callable[[Labels], Labels]
    many: bool
    taken: list[str]


def _matching(node: ast.BinaryExpr) -> _Matching:
    modifier = node.modifier
    if modifier is None:
        return _Matching(_unnamed, _unnamed, False, [])
    if modifier.card == ast.VectorMatchCardinality.OneToMany:
        raise NotImplementedError(node.prettify())
    many = modifier.card == ast.VectorMatchCardinality.ManyToOne
    names = list(modifier.matching.labels) if modifier.matching else []
    taken = list(modifier.group_labels or ())
    on = modifier.matching is not None and modifier.matching.type == ast.LabelModifierType.Include

    def signature(labels: Labels) -> Labels:
        return _only(labels, names) if on else _without(labels, names)

    return _Matching(signature, _unnamed if many else signature, many, taken)


def _binary(node: ast.BinaryExpr) -> Query:
    symbol = str(node.op)
    left, right, matching = _compile(node.lhs), _compile(node.rhs), _matching(node)
    if symbol in _SETS:
        combine = _SETS[symbol]
        return lambda stored, time: combine(
            _vector(left(stored, time)), _vector(right(stored, time)), matching.signature
        )
    compute = _operation(symbol, bool(node.modifier and node.modifier.return_bool))
    keeps_name = symbol in _COMPARISONS and not (node.modifier and node.modifier.return_bool)

    def evaluate(stored: Storage, time: float) -> Value:
        one, other = left(stored, time), right(stored, time)
        if isinstance(one, dict) and isinstance(other, dict):
            return _paired(one, other, compute, matching)
        if not isinstance(one, dict) and not isinstance(other, dict):
            if (value := compute(one, other, one)) is None:
                raise ValueError(f"{node.prettify()}: two numbers are compared with bool only")
            return value
        pairs = (
            {labels: compute(value, other, value) for labels, value in one.items()}
            if isinstance(one, dict)
            else {labels: compute(one, value, value) for labels, value in _vector(other).items()}
        )
        return {
            labels if keeps_name else _unnamed(labels): value
            for labels, value in pairs.items()
            if value is not None
        }

    return evaluate


Compute = Callable[[float, float, float], float | None]


def _operation(symbol: str, as_bool: bool) -> Compute:
    """A function of both sides and of the value that a true comparison keeps; None: it is false."""
    if symbol in _ARITHMETIC:
        arithmetic = _ARITHMETIC[symbol]
        return lambda one, other, _: arithmetic(one, other)
    if symbol not in _COMPARISONS:
        raise NotImplementedError(symbol)
    compare = _COMPARISONS[symbol]
    if as_bool:
        return lambda one, other, _: float(compare(one, other))
    return lambda one, other, kept: kept if compare(one, other) else None


def _paired(one: Vector, other: Vector, compute: Compute, matching: _Matching) -> Vector:
    by_signature: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in other.items():
        key = matching.signature(labels)
        if key in by_signature:
            raise ValueError(f"two series on the right have the labels {dict(key)}")
        by_signature[key] = labels, value
    found: Vector = {}
    for labels, value in one.items():
        key = matching.signature(labels)
        if key not in by_signature:
            continue
        partner, second = by_signature[key]
        if (result := compute(value, second, value)) is None:
            continue
        kept = _without(matching.kept(labels), matching.taken) | _only(partner, matching.taken)
        if kept in found:
            raise ValueError(f"two series on the left have the labels {dict(kept)}")
        found[kept] = result
    return found


Signature = Callable[[Labels], Labels]


def _and(one: Vector, other: Vector, signature: Signature) -> Vector:
    present = {signature(labels) for labels in other}
    return {labels: value for labels, value in one.items() if signature(labels) in present}


def _unless(one: Vector, other: Vector, signature: Signature) -> Vector:
    present = {signature(labels) for labels in other}
    return {labels: value for labels, value in one.items() if signature(labels) not in present}


def _or(one: Vector, other: Vector, signature: Signature) -> Vector:
    return {**one, **_unless(other, one, signature)}


_SETS = {"and": _and, "or": _or, "unless": _unless}


def _call(node: ast.Call) -> Query:
    name, arguments = str(node.func.name), list(node.args)
    if name == "time":
        return lambda stored, time: time
    if name in _OVER_TIME:
        return _over_time(name, arguments[0])
    if name in {"absent", "absent_over_time"}:
        return _absent(arguments[0])
    if name == "histogram_quantile":
        share, buckets = map(_compile, arguments)
        return lambda stored, time: _quantiles(share(stored, time), _vector(buckets(stored, time)))
    raise NotImplementedError(node.prettify())


def _over_time(name: str, node: ast.Expr) -> Query:
    if not isinstance(node, ast.MatrixSelector):
        raise NotImplementedError(node.prettify())
    select, offset = _selection(node.vector_selector)
    function, length = _OVER_TIME[name], node.range.total_seconds()
    # The newest sample is that of the series itself, which keeps its name.
    named = (lambda labels: labels) if name == "last_over_time" else _unnamed

    def evaluate(stored: Storage, time: float) -> Vector:
        found = (
            (labels, function(series, time - offset, length)) for labels, series in select(stored)
        )
        return {named(labels): value for labels, value in found if value is not None}

    return evaluate


def _rate(series: Series, end: float, seconds: float) -> float | None:
    """The increase per second, extrapolated to the range as Prometheus does."""
    samples = series.within(end, seconds)
    if len(samples) < 2:
        return None
    (first_time, first), (last_time, last) = samples[0], samples[-1]
    values = [value for _, value in samples]
    resets = sum(before for before, after in pairwise(values) if after < before)
    increase = last - first + resets
    sampled = last_time - first_time
    spacing = sampled / (len(samples) - 1)
    before, after = first_time - (end - seconds), end - last_time
    if before >= 1.1 * spacing:
        before = spacing / 2
    if increase > 0 and first >= 0:  # a counter was never below zero
        before = min(before, sampled * first / increase)
    if after >= 1.1 * spacing:
        after = spacing / 2
    return increase * (sampled + before + after) / sampled / seconds


def _max(series: Series, end: float, seconds: float) -> float | None:
    return max((value for _, value in series.within(end, seconds)), default=None)


def _average(series: Series, end: float, seconds: float) -> float | None:
    values = [value for _, value in series.within(end, seconds)]
    return sum(values) / len(values) if values else None


_OVER_TIME: dict[str, Callable[[Series, float, float], float | None]] = {
    "rate": _rate,
    "max_over_time": _max,
    "avg_over_time": _average,
    "last_over_time": Series.last_within,
}


def _absent(node: ast.Expr) -> Query:
    ranged = isinstance(node, ast.MatrixSelector)
    inner = _over_time("last_over_time", node) if ranged else _compile(node)
    labels = _equal_labels(node.vector_selector if ranged else node)
    return lambda stored, time: {} if inner(stored, time) else {labels: 1.0}


def _equal_labels(node: ast.Expr) -> Labels:
    if not isinstance(node, ast.VectorSelector):
        return frozenset()
    equal = [m for m in node.matchers.matchers if m.op == ast.MatchOp.Equal]
    often = Counter(matcher.name for matcher in node.matchers.matchers)
    return frozenset((m.name, m.value) for m in equal if often[m.name] == 1)


def _quantiles(share: Value, buckets: Vector) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, count in buckets.items():
        bound = float(dict(labels)["le"])
        groups[_without(labels, ["le"])].append((bound, count))
    return {labels: _quantile(share, sorted(found)) for labels, found in groups.items()}


def _quantile(share: Value, buckets: list[tuple[float, float]]) -> float:
    """A quantile by linear interpolation in the bucket that contains it."""
    bounds, counts = zip(*buckets, strict=True)
    if math.inf != bounds[-1] or len(buckets) == 1 or not counts[-1] > 0:
        return math.nan
    rank = share * counts[-1]
    at = next(index for index, count in enumerate(counts) if count >= rank)
    if at == len(buckets) - 1:
        return bounds[-2]
    start, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return start + (bounds[at] - start) * (rank - below) / (counts[at] - below)
