"""Formats rates, intervals and class balances as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from components.evaluator.gate_results import Outcome
from components.evaluator.more_images import MoreImages

DASH = "–"


class Answer(NamedTuple):
    """The parts of the sentence, to be joined without separators."""

    verdict: str
    found: str
    recall: str
    alarms: str
    precision: str
    where: str


def rate(value: float | None, digits: int = 3) -> str:
    """Formats a rate with `digits` decimals, or more if it would be rounded to 0 or 1."""
    if value is None:
        return DASH
    # A difference of equal means is not exactly 0 because of rounding.
    whole = any(math.isclose(value, end, abs_tol=1e-9) for end in (0, 1))
    while not whole and digits < 6 and float(f"{value:.{digits}f}") in (0, 1):
        digits += 1
    return f"{value:z.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Formats the ends of an interval with `digits` decimals."""
    if bounds is None:
        return DASH
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def signed(difference: float) -> str:
    """Formats a difference with its sign and four decimals."""
    return f"{difference:+z.4f}".replace("-", "\N{MINUS SIGN}")


def amount(value: float | None) -> str:
    """Formats a number of images or a cost with one decimal, or more if it would be rounded to 0.

    As `thresholds.js` does.
    """
    if value is None:
        return DASH
    digits = 1
    while digits < 6 and value and not float(f"{value:.{digits}f}"):
        digits += 1
    return f"{value:,.{digits}f}"


def of_hundred(value: float) -> str:
    """Formats a rate as `87 of 100`; of 1,000 or more if it would be rounded to none or all."""
    whole = 100
    while whole < 100_000 and round(value * whole) in (0, whole) and value not in (0, 1):
        whole *= 10
    return f"{round(value * whole):,} of {whole:,}"


def balance(prevalence: float) -> str:
    """Formats a prevalence as a class balance, such as `10 negatives per positive`."""
    negatives = (1 - prevalence) / prevalence
    if negatives < 1:
        return f"{_short(1 / negatives)} positives per negative"
    shown = _short(negatives)
    return f"{shown} {'negative' if shown == '1' else 'negatives'} per positive"


def differs(share: float, prevalence: float) -> bool:
    """Returns whether two shares of positives differ by more than 2 %."""
    return not math.isclose(share, prevalence, rel_tol=0.02)


def outcome(gate: Mapping[str, Any]) -> str:
    """Formats the outcome of a gate, and the number of images that would decide it.

    Args:
      gate: an entry of `gates` in `metrics.json`.
    """
    if gate["outcome"] != Outcome.TOO_FEW_IMAGES:
        return str(gate["outcome"])
    accepted = ", accepted" if gate["passed"] else ""
    more = gate["more_images"]
    needs = f": {MoreImages(**more).describe()} would decide" if more else ""
    return f"too few images to tell{accepted}{needs}"


def answer(
    *,
    blessed: bool,
    positive_class: str,
    at_prevalence: Mapping[str, Any],
    intervals: Mapping[str, Any],
) -> Answer:
    """Returns the result of a run as a sentence.

    Args:
      blessed: the verdict.
      positive_class: name of the positive class.
      at_prevalence: the metrics at the real world's prevalence, with their intervals.
      intervals: intervals of the test split; recall's does not depend on the prevalence.
    """
    recall, precision = at_prevalence["recall"], at_prevalence["precision"]
    shown = f" (recall {_with_interval(recall, intervals['recall'])})"
    alarms, aside = " and raises no alarm", ""
    if precision is not None:
        alarms = f", and {of_hundred(precision)} alarms are correct"
        bounds = at_prevalence["intervals"]["precision"]
        aside = f" (precision {_with_interval(precision, bounds)})"
    return Answer(
        verdict="Blessed" if blessed else "Not blessed",
        found=f": the model finds {of_hundred(recall)} images of “{positive_class}”",
        recall=shown,
        alarms=alarms,
        precision=aside,
        where=f", with {balance(at_prevalence['prevalence'])}.",
    )


def _with_interval(value: float, bounds: Sequence[float] | None) -> str:
    return f"{rate(value, 2)}, 95 % interval {interval(bounds, 2)}"


def _short(number: float) -> str:
    """Formats a number without decimals if it is nearly whole or large, else with one."""
    if number >= 20 or math.isclose(number, round(number), rel_tol=0.01):
        return f"{round(number):,}"
    return f"{number:.1f}"
