"""Formats the figures of a study as text."""

from collections.abc import Sequence

from components.reporter.wording import DASH, rate

MINUS = "\N{MINUS SIGN}"
LABELS = {
    "f1": "F1",
    "recall": "recall",
    "precision": "precision",
    "accuracy": "accuracy",
    "pr_auc": "PR-AUC",
    "loss": "loss",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "ECE",
    "slope": "slope",
    "intercept": "intercept",
    "expected_cost": "expected cost",
}
"""Names of metrics in a sentence."""


def quoted(name: str) -> str:
    """Returns a user's name in quotation marks."""
    return f"“{name}”"


def listed(names: Sequence[str]) -> str:
    """Returns names as in `“a”, “b” and “c”`."""
    return joined([quoted(name) for name in names])


def joined(parts: Sequence[str]) -> str:
    """Joins parts of a sentence, with `and` before the last."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun, such as `1 image` and `1,100 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def signed(value: float | None, digits: int = 3) -> str:
    """Returns a difference with its sign, or without a sign if it is rounded to 0."""
    if value is None:
        return DASH
    shown = f"{abs(value):.{digits}f}"
    if float(shown) == 0:
        return shown
    return f"{'+' if value > 0 else MINUS}{shown}"


def span(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """Returns the bounds of an interval, which may be negative."""
    if bounds is None:
        return DASH
    low, high = (_negative(bound, digits) for bound in bounds)
    return f"{low} to {high}"


def range_of(bounds: Sequence[float], digits: int = 3) -> str:
    """Returns the bounds of a non-negative interval in short form."""
    return f"{bounds[0]:,.{digits}f}–{bounds[1]:,.{digits}f}"


def gap(value: float) -> str:
    """Returns the size of a difference, with more digits if three would give 0."""
    return rate(abs(value))


def p_value(p: float | None) -> str:
    """Returns a p value such as `p = 0.012` or `p < 0.001`, without line breaks."""
    if p is None:
        return DASH
    shown = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    return f"p {shown}".replace(" ", "\N{NO-BREAK SPACE}")


def percent(share: float) -> str:
    """Returns a share such as `9.1 %` or `50 %`."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"


def amount(value: float | None) -> str:
    """Returns a mean count of images."""
    return DASH if value is None else f"{value:,.1f}"


def _negative(value: float, digits: int) -> str:
    shown = f"{abs(value):.{digits}f}"
    return f"{MINUS}{shown}" if value < 0 and float(shown) else shown
