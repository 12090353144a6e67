"""Gates: the conditions under which a model is blessed, as they stand in the settings.

    gate      = metric condition { [","] addition }
    condition = operator number
              | "not worse than champion by" number
              | "better than champion"
    operator  = ">=" | "<=" | ">" | "<"
    addition  = "at prevalence"
              | "lower bound" | "upper bound"
              | "in every" column { "and" column } [ size ]
              | "in" column "=" value [ size ]
              | "per 1000" [ "images" ]
              | "in the newest span"
              | "or too few images"
    size      = "with at least" number "images"

For instance `recall >= 0.90`, `pr_auc not worse than champion by 0.01`, `fp <= 12`,
`precision >= 0.80 at prevalence, lower bound`, `recall >= 0.70 in every breed with at least 30
images` or `expected_cost <= 120 per 1000`. Each addition may be given once, in any order. Names
that contain spaces, commas or `=` are quoted.

- `at prevalence`: the metric at the real world's share of positives instead of the test split's.
- `lower bound` (for `>=` and `>`) and `upper bound` (for `<=` and `<`): that end of the metric's
  95 % interval must pass, not only the metric.
- `in every breed`: each breed must pass; `and` crosses columns, `in breed = pug` means one slice.
  Images without a value in the column belong to no slice. `with at least 30 images` counts the
  images that the metric rests on, see `Gate.rests_on`: a smaller slice has too few to tell.
- `per 1000`: says the unit of `expected_cost` and `alerts_per_thousand`, which it does not change.
- `or too few images`: the gate is also passed if there are too few images to tell, see
  `components.evaluator.judgement`.
- `in the newest span`: only the images of the newest span decide, for gates on the champion.

The champion is the model that is serving. Each model decides with its own threshold, and the 95 %
interval of the difference of the two models decides, see `components.evaluator.champion`. `better`
means higher, for errors and costs lower.

`anomalies` counts the differences between the data and the kept schema: `anomalies <= 0`.
"""

import difflib
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyparsing as pp

from components.messages import InputError
from components.spelling import composed

RATES = ("recall", "precision", "f1", "accuracy", "specificity", "pr_auc", "auc")
"""Metrics between 0 and 1. At prevalence, those that do not depend on it are unchanged."""
COUNTS = ("tp", "fp", "tn", "fn")
"""Metrics that count images of the test split."""
EXPECTED_COST = "expected_cost"
"""The cost of the wrong decisions in 1,000 images, for which the costs must be known."""
PER_THOUSAND = (EXPECTED_COST, "alerts_per_thousand")
"""Metrics per 1,000 images."""
PROBABILITY_ERRORS = ("ece", "brier", "log_loss")
"""How far the probabilities are from the truth; 0 is best."""
ANOMALIES = "anomalies"
"""The number of anomalies that ExampleValidator found in all images."""
METRICS = (*RATES, *PROBABILITY_ERRORS, *PER_THOUSAND, *COUNTS, ANOMALIES)
COMPARED = (*RATES, *PROBABILITY_ERRORS, EXPECTED_COST)
"""Metrics that are compared with the champion's."""
LOWER_IS_BETTER = (*PROBABILITY_ERRORS, EXPECTED_COST)
"""Of these, metrics of which the lower is the better."""

OF_COUNTS = ("recall", "precision", "f1", "accuracy", "specificity")
"""Rates that follow from the confusion matrix."""

POSITIVES, NEGATIVES, BOTH = "positives", "negatives", "images"
"""The images that a metric rests on."""

_AT_PREVALENCE = (*RATES, *PROBABILITY_ERRORS, *PER_THOUSAND)
_IN_SLICES = (*OF_COUNTS, "pr_auc", *COUNTS)
_ONE_SIDE = dict.fromkeys(("recall", "tp", "fn"), POSITIVES) | dict.fromkeys(
    ("specificity", "tn", "fp"), NEGATIVES
)
# Without images of these sides, a slice says nothing about the metric.
_SIDES_OF = {"precision": (POSITIVES,), "f1": (POSITIVES,), "pr_auc": (POSITIVES, NEGATIVES)}
HIGHEST = (
    dict.fromkeys(METRICS, math.inf)
    | dict.fromkeys((*RATES, "ece", "brier"), 1.0)
    | {"alerts_per_thousand": 1000.0}
)
"""The highest possible value of each metric; the lowest is 0."""
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NOT_WORSE, _BETTER = "not worse than champion by", "better than champion"
_NEWEST_SPAN = "in the newest span"
_GRAMMAR = (
    "'<metric> <operator> <number>', for instance 'recall >= 0.90', "
    f"'<metric> {_NOT_WORSE} <number>' or '<metric> {_BETTER}'"
)
_SIDES = ("lower bound", "upper bound")
ADDITIONS = (
    "at prevalence",
    *_SIDES,
    "in every COLUMN [with at least NUMBER images]",
    "in COLUMN = VALUE",
    _NEWEST_SPAN,
    "per 1000",
    "or too few images",
)
"""What may follow the bound."""


class GateError(InputError):
    """A gate that is malformed, that no model can pass, or that doesn't fit the data."""


@dataclass(frozen=True)
class SliceRule:
    """The slices that must each pass.

    Attributes:
      columns: the columns whose values, or combinations of values, are the slices.
      value: the only slice to judge; None for all.
      at_least: images below which a slice has too few to tell.
    """

    columns: tuple[str, ...]
    value: str | None = None
    at_least: int = 1

    def describe(self) -> str:
        """Returns the slices in words, such as `breed` or `breed = pug`."""
        columns = " and ".join(self.columns)
        return columns if self.value is None else f"{columns} = {self.value}"


@dataclass(frozen=True)
class ChampionRule:
    """A comparison with the champion.

    Attributes:
      margin: by how much the metric may be worse; None if it must be better.
      in_newest_span: whether only the images of the newest span decide.
    """

    margin: float | None
    in_newest_span: bool = False


@dataclass(frozen=True)
class Gate:
    """One bound on one metric, or on its improvement on the champion's.

    Attributes:
      text: the gate as given, with single spaces.
      metric: one of `METRICS`.
      operator: `>=`, `<=`, `>` or `<`; `>` with a champion.
      bound: the number; with a champion, of the improvement, which is positive if the metric is
        better than the champion's.
      at_prevalence: whether the metric is that at the real world's share of positives.
      by_interval: whether the end of the 95 % interval on the unfavourable side must pass.
      slices: the slices that must each pass; None for the whole split.
      accepts_too_few: whether the gate is passed if there are too few images to tell.
      champion: the comparison with the champion; None without one.
    """

    text: str
    metric: str
    operator: str
    bound: float
    at_prevalence: bool = False
    by_interval: bool = False
    slices: SliceRule | None = None
    accepts_too_few: bool = False
    champion: ChampionRule | None = None

    def passes(self, value: float) -> bool:
        """Returns whether `value` is within the bound; NaN never is.

        A value that differs from the bound by rounding alone counts as equal to it.
        """
        if math.isclose(value, self.bound, rel_tol=1e-9, abs_tol=1e-12):
            value = self.bound
        return _OPERATORS[self.operator](value, self.bound)

    @property
    def requires_high(self) -> bool:
        """Whether higher values are better."""
        return self.operator.startswith(">")

    @property
    def rests_on(self) -> str:
        """The images that the metric rests on: `positives`, `negatives` or `images` of both.

        Recall, tp and fn rest on the positives; specificity, tn and fp on the negatives; every
        other metric on all images.
        """
        return _ONE_SIDE.get(self.metric, BOTH)

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides of which a slice must have images to say anything about the metric."""
        return _SIDES_OF.get(self.metric, (self.rests_on,))

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        return f"{self.metric} at prevalence" if self.at_prevalence else self.metric


def parse(text: str) -> Gate:
    """Parses a gate.

    Raises:
      GateError: the text is malformed, the metric is unknown, or no model can pass the gate.
    """
    try:
        found = _GATE.parse_string(text)
    except pp.ParseException as error:
        raise GateError(f"a gate must be {_GRAMMAR}. Received: {text!r}") from error
    additions = _additions(text, found.additions, found.rest)
    champion = _champion_rule(text, found, additions)
    gate = Gate(
        text=" ".join(text.split()),
        metric=_known_metric(text, found.metric),
        operator=">" if champion else _known_operator(text, found.operator),
        bound=0.0 - (champion.margin or 0.0) if champion else _number(text, found.bound),
        at_prevalence="at prevalence" in additions,
        by_interval=any(side in additions for side in _SIDES),
        slices=additions.get("in"),
        accepts_too_few="or too few images" in additions,
        champion=champion,
    )
    if champion:
        _check_champion(gate, additions)
    else:
        _check_reachable(gate)
    _check_additions(gate, additions)
    return gate


def _champion_rule(
    text: str, found: pp.ParseResults, additions: dict[str, Any]
) -> ChampionRule | None:
    if "champion" not in found:
        return None
    margin = _number(text, found.bound) if "bound" in found else None
    return ChampionRule(margin, in_newest_span=_NEWEST_SPAN in additions)


def parse_all(texts: Iterable[str]) -> list[Gate]:
    """Parses gates, in order; raises as `parse`."""
    return [parse(text) for text in texts]


def check_columns(gates: Iterable[Gate], known: Sequence[Sequence[str]]) -> None:
    """Checks that the slices of every gate are computed.

    Args:
      gates: the gates.
      known: the columns of each kind of slice; several columns are a cross.

    Raises:
      GateError: a gate is on other slices; the nearest are named.
    """
    computed = {tuple(sorted(columns)): " and ".join(columns) for columns in known}
    for gate in gates:
        if gate.slices is None or tuple(sorted(gate.slices.columns)) in computed:
            continue
        asked, names = " and ".join(gate.slices.columns), sorted(computed.values())
        raise GateError(
            f"gate {gate.text!r}: the slices must be of one of {', '.join(names)}; add a column "
            f"to data.slices, a cross also to evaluator.slices. Received: {asked!r}"
            f"{nearest(asked, names)}"
        )


def _words(phrase: str) -> pp.ParserElement:
    return pp.And([pp.CaselessKeyword(word) for word in phrase.split()])


def _phrase(phrase: str, *, also: pp.ParserElement | None = None) -> pp.ParserElement:
    """Matches words in any case and spacing; yields them with the value True."""
    matched = _words(phrase) + (also or pp.Empty())
    return matched.set_parse_action(lambda: [(phrase, True)])


def _slices() -> pp.ParserElement:
    """Matches `in every …` and `in … = …`; yields `in` with a `SliceRule`."""
    name = pp.QuotedString("'") | pp.QuotedString('"') | pp.Regex(r"[^\s,='\"]+")
    size = _words("with at least").suppress() + pp.Regex(r"\d{1,9}")("at_least") + _words("images")
    every = _words("in every") + pp.DelimitedList(name, pp.CaselessKeyword("and"))("columns")
    single = _words("in") + name("column") + "=" + name("value")
    return ((every | single) + pp.Optional(size)).set_parse_action(_slice_rule)


def _slice_rule(found: pp.ParseResults) -> list[tuple[str, SliceRule]]:
    columns = found.columns or [found.column]
    rule = SliceRule(
        columns=tuple(dict.fromkeys(composed(column) for column in columns)),
        value=composed(found.value) if "value" in found else None,
        at_least=max(1, int(found.at_least or 1)),
    )
    return [("in", rule)]


def _grammar() -> pp.ParserElement:
    thousand = pp.Regex(r"1,?000\b") + pp.Optional(pp.CaselessKeyword("images"))
    addition = (
        _phrase("at prevalence")
        | _phrase(_NEWEST_SPAN)
        | _phrase("lower bound")
        | _phrase("upper bound")
        | _phrase("or too few images")
        | _phrase("per", also=thousand)
        | _slices()
    )
    bound = pp.Regex(r"[^\s,]+")("bound")
    champion = (_words(_NOT_WORSE) + bound | _words(_BETTER))("champion")
    return (
        pp.Regex(r"\w+")("metric")
        + (champion | pp.Regex(r"[<>=!≤≥]+")("operator") + bound)
        + pp.ZeroOrMore(pp.Optional(",").suppress() + addition)("additions")
        + pp.Regex(r"(?s).*")("rest")
    ).parse_with_tabs()


_GATE = _grammar()


def _additions(text: str, found: Iterable[tuple[str, Any]], rest: str) -> dict[str, Any]:
    if rest.strip():
        raise GateError(
            f"gate {text!r}: only these may follow the bound, with a comma between two of them: "
            f"{', '.join(map(repr, ADDITIONS))}. Received: {rest.strip()!r}"
        )
    additions: dict[str, Any] = {}
    for key, value in found:
        if key in additions:
            raise GateError(f"gate {text!r}: {key!r} may be given once. Received: twice")
        additions[key] = value
    return additions


def _known_metric(text: str, name: str) -> str:
    if name.lower() in METRICS:
        return name.lower()
    raise GateError(
        f"gate {text!r}: the metric must be one of {', '.join(METRICS)}. Received: {name!r}"
        f"{nearest(name.lower(), METRICS)}"
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Returns a hint with the known name nearest to `name`; empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


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


def _check_reachable(gate: Gate) -> None:
    """Refuses a gate that no model can pass, a mistake such as 90 for 0.90."""
    low, high = 0.0, HIGHEST[gate.metric]
    if not low <= gate.bound <= high:
        span = "0 or more" if high == math.inf else f"between 0 and {high:g}"
        raise GateError(
            f"gate {gate.text!r}: the bound of {gate.metric} must be {span}. "
            f"Received: {gate.bound:g}"
        )
    if not gate.passes(high if gate.requires_high else low):
        raise GateError(
            f"no model can pass this gate; use {gate.operator}= instead. Received: {gate.text!r}"
        )


def _check_champion(gate: Gate, additions: Iterable[str]) -> None:
    """Refuses comparisons with the champion that have no meaning, or that any model passes."""
    _check_metric(gate, COMPARED, "that is compared with the champion's", "no other is compared")
    margin = gate.champion.margin if gate.champion else None
    limit = math.inf if gate.metric in (EXPECTED_COST, "log_loss") else 1
    if margin is not None and not 0 < margin < limit:
        span = "above 0" if limit == math.inf else "above 0 and below 1"
        raise GateError(
            f"gate {gate.text!r}: the number after 'by' must be {span}; for 0, use "
            f"'{gate.metric} {_BETTER}'. Received: {margin:g}"
        )
    allowed = {"at prevalence", _NEWEST_SPAN, "or too few images", "per"}
    if refused := set(additions) - allowed:
        raise GateError(
            f"gate {gate.text!r}: after 'champion' there may be 'at prevalence', "
            f"{_NEWEST_SPAN!r} and 'or too few images'. Received: {sorted(refused)[0]!r}"
        )


def _check_additions(gate: Gate, additions: Iterable[str]) -> None:
    """Refuses additions that have no meaning for the metric."""
    if gate.at_prevalence:
        _check_metric(
            gate, _AT_PREVALENCE, "at prevalence", "counts depend on the number of images"
        )
    if gate.by_interval:
        _check_metric(gate, _AT_PREVALENCE, "with a bound of its interval", "counts have none")
        _check_side(gate, additions)
    if "per" in additions:
        _check_metric(gate, PER_THOUSAND, "per 1000", "no other is given per 1,000 images")
    if gate.slices is not None:
        _check_slices(gate)
    if _NEWEST_SPAN in additions and gate.champion is None:
        raise GateError(
            f"{_NEWEST_SPAN!r} requires a comparison with the champion, for instance "
            f"'{gate.metric} {_BETTER} {_NEWEST_SPAN}'. Received: {gate.text!r}"
        )
    if gate.accepts_too_few and not _may_have_too_few(gate):
        raise GateError(
            "'or too few images' requires 'lower bound', 'upper bound', 'with at least NUMBER "
            "images' or a comparison with the champion, as any other gate is always decided. "
            f"Received: {gate.text!r}"
        )


def _may_have_too_few(gate: Gate) -> bool:
    at_least = gate.slices.at_least if gate.slices else 1
    return gate.by_interval or at_least > 1 or gate.champion is not None


def _check_metric(gate: Gate, allowed: Sequence[str], where: str, why: str) -> None:
    if gate.metric not in allowed:
        raise GateError(
            f"a metric {where} must be one of {', '.join(allowed)}, as {why}. "
            f"Received: {gate.text!r}"
        )


def _check_side(gate: Gate, additions: Iterable[str]) -> None:
    side = _SIDES[0] if gate.requires_high else _SIDES[1]
    if set(_SIDES).intersection(additions) != {side}:
        raise GateError(
            f"a gate with {gate.operator} must be on the {side} of the interval. "
            f"Received: {gate.text!r}"
        )


def _check_slices(gate: Gate) -> None:
    """Refuses metrics that are not computed within slices."""
    rates_only = gate.at_prevalence or gate.by_interval
    why = "no other is computed within slices"
    where = "in slices at prevalence or with a bound" if rates_only else "in slices"
    _check_metric(gate, OF_COUNTS if rates_only else _IN_SLICES, where, why)
