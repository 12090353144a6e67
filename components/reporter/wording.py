"""Figures in words: how a rate, an interval and a balance are said."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DASH = "–"


class Answer(NamedTuple):
    """The parts of the sentence, which give it when joined."""

    verdict: str
    found: str
    recall: str
    alarms: str
    precision: str
    where: str


def rate(value: float | None, digits: int = 3) -> str:
    """A rate with `digits` decimals, more where it would look like a 0 or a 1 it is not."""
    if value is None:
        return DASH
    # What is left of a difference of equal means is no more than rounding.
    whole = any(math.isclose(value, end, abs_tol=1e-9) for end in (0, 1))
    while not whole and digits < 6 and float(f"{value:.{digits}f}") in (0, 1):
        digits += 1
    return f"{value:z.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """An interval's ends with `digits` decimals."""
    if bounds is None:
        return DASH
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def of_hundred(value: float) -> str:
    """A rate as `87 of 100`; of a thousand or more where a hundred would hide the rest."""
    whole = 100
    while whole < 100_000 and round(value * whole) in (0, whole) and value not in (0, 1):
        whole *= 10
    return f"{round(value * whole):,} of {whole:,}"


def balance(prevalence: float) -> str:
    """How many others come to each positive, such as `10 others to each`."""
    others = (1 - prevalence) / prevalence
    if others < 1:
        return f"{_short(1 / others)} of them to each other image"
    shown = _short(others)
    return f"{shown} {'other' if shown == '1' else 'others'} to each"


def differs(share: float, prevalence: float) -> bool:
    """Whether two shares of positives are different balances, and not the same but for a hair."""
    return not math.isclose(share, prevalence, rel_tol=0.02)


def answer(
    *,
    blessed: bool,
    positive_class: str,
    at_prevalence: Mapping[str, Any],
    intervals: Mapping[str, Any],
) -> Answer:
    """What a run came to, in a sentence.

    Args:
      blessed: the verdict.
      positive_class: what is looked for.
      at_prevalence: the figures at the real world's balance, with their own intervals.
      intervals: those of the test split; recall's does not depend on the balance.
    """
    recall, precision = at_prevalence["recall"], at_prevalence["precision"]
    shown = f" (recall {_with_interval(recall, intervals['recall'])})"
    alarms, aside = " and raises no alarm at all", ""
    if precision is not None:
        alarms = f", and {of_hundred(precision)} alarms are right"
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
    """A whole number where it nearly is one or is large, else one decimal."""
    if number >= 20 or math.isclose(number, round(number), rel_tol=0.01):
        return f"{round(number):,}"
    return f"{number:.1f}"
