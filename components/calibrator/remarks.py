"""Caveats on an operating point, and why a rule has none, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.calibrator import rules
from components.calibrator.calibration import FEW_POSITIVES
from components.calibrator.decision import Decision
from components.calibrator.outcomes import Outcomes
from components.calibrator.rules import Rule
from components.evaluator.intervals import Interval

# If a negative represents more than this many, the false positive rate is imprecise.
_MANY_PER_NEGATIVE = 2


@dataclass(frozen=True)
class _Bound:
    """What to say about the bound of a rule.

    Attributes:
      key: its setting.
      figure: the bounded figure, an attribute of Outcomes.
      best: what the threshold that comes closest to the bound has.
      not_held: that no threshold is expected to hold the bound on new images.
      missed: that the interval reaches beyond the bound.
    """

    key: str
    figure: str
    best: str
    not_held: str
    missed: str

    def value(self, rule: Rule) -> float:
        """Returns the bound."""
        return float(getattr(rule, self.key))


def _floor(key: str, figure: str) -> _Bound:
    return _Bound(
        key=key,
        figure=figure,
        best=f"reaches calibrator.{key}: the best {figure} is {{figure:.4f}}, at a recall of "
        "{recall:.4f}; lower it",
        not_held=f"no threshold that reaches the {figure} floor of {{bound:g}} is expected to "
        f"reach it on new images; this one has the highest expected {figure}, {{figure:.3f}}",
        missed=f"the 95 % interval of {figure} is {{low:.3f}} to {{high:.3f}}: the true {figure} "
        "may be below the floor of {bound:g}",
    )


_BOUNDS = {
    rules.RECALL_AT_PRECISION: _floor(rules.PRECISION_FLOOR, "precision"),
    rules.PRECISION_AT_RECALL: _floor(rules.RECALL_FLOOR, "recall"),
    rules.ALERTS_PER_THOUSAND: _Bound(
        key=rules.ALERTS,
        figure="alerts_per_thousand",
        best="with an alert keeps to calibrator.alerts: the fewest alerts are {figure:.3g} per "
        "1,000 images, at a recall of {recall:.4f}; raise it",
        not_held="no threshold with at most {bound:g} alerts per 1,000 images is expected to keep "
        "to that on new images; this one has the fewest expected alerts, {figure:.3g}",
        missed="the 95 % interval of the alerts per 1,000 images is {low:.3g} to {high:.3g}: "
        "there may be more than {bound:g}",
    ),
}


def unreachable(rule: Rule, closest: Outcomes) -> str:
    """Says that no threshold reaches what the rule requires, and what the best one does.

    Args:
      rule: a rule with a bound.
      closest: the outcomes of the candidate that comes closest.
    """
    bound = _BOUNDS[rule.name]
    best = bound.best.format(
        figure=float(getattr(closest, bound.figure)[0]), recall=float(closest.recall[0])
    )
    return (
        f"no threshold of this model {best} or train a better model. "
        f"Received: {bound.value(rule):g}"
    )


def describe(
    rule: Rule, decision: Decision, intervals: Mapping[str, Interval], *, positives: int
) -> Iterator[str]:
    """Yields the caveats, one clause each.

    Args:
      rule: the rule that chose the thresholds.
      decision: the thresholds, and their outcomes on the images.
      intervals: of the figures to expect on new images.
      positives: number of positive images.
    """
    if decision.found.weight > _MANY_PER_NEGATIVE:
        yield (
            f"each of the {_negatives(decision, positives):,} negative images represents "
            f"{decision.found.weight:.3g} of the population, so few images determine the false "
            "positive rate; draw the split at the population's balance"
        )
    if rule.name in _BOUNDS:
        yield from _on_bound(rule, decision, intervals)
    if rule.name == rules.EXPECTED_COST and not decision.found.alerts_per_thousand[0]:
        yield "calling no image positive costs least: false alarms cost more than they save"
    if decision.band and decision.band.lower == decision.band.upper:
        yield (
            "no image is reviewed: the images next to the threshold are a larger share than "
            "calibrator.review"
        )
    if positives < FEW_POSITIVES:
        noun = "image was" if positives == 1 else "images were"
        yield (
            f"only {positives} positive {noun} available for the choice, so what it will give is "
            "very uncertain; add positive images to the split"
        )


def _negatives(decision: Decision, positives: int) -> int:
    return round((decision.found.images - positives) / decision.found.weight)


def _on_bound(rule: Rule, decision: Decision, intervals: Mapping[str, Interval]) -> Iterator[str]:
    bound = _BOUNDS[rule.name]
    value, ends = bound.value(rule), intervals.get(bound.figure)
    if not decision.choice.held:
        expected = float(getattr(decision.expected, bound.figure)[0])
        yield bound.not_held.format(bound=value, figure=expected)
    if ends is not None and _reaches_beyond(rule, ends, value):
        yield bound.missed.format(low=ends[0], high=ends[1], bound=value)


def _reaches_beyond(rule: Rule, ends: tuple[float, float], bound: float) -> bool:
    return ends[1] > bound if rule.name == rules.ALERTS_PER_THOUSAND else ends[0] < bound
