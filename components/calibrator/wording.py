"""The promised figures of an operating point, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "f_beta": "F-beta",
    "alerts_per_thousand": "alerts per 1,000 images",
    "expected_cost": "cost per 1,000 images",
}
_REVIEWED_NAMES = {
    "precision": "precision",
    "recall": "recall",
    "recall_with_review": "recall with the positives that the person can find",
    "alerts_per_thousand": "alerts per 1,000 images",
    "expected_cost": "cost per 1,000 images",
}
_PER_THOUSAND = ("alerts_per_thousand", "expected_cost")


def promised(point: Mapping[str, Any]) -> Iterator[str]:
    """Yields a sentence on the figures to expect on new images, and one on the review band.

    Args:
      point: the operating point, as plain values.
    """
    if (found := point["promised"]) is None:
        return
    yield f"to expect on new images, with 95 % intervals: {figures(found, _NAMES)}"
    if (review := found["review"]) is not None:
        band = point["review"]
        yield (
            f"to be reviewed by a person, from {band['lower']:.4f} to below {band['upper']:.4f}: "
            f"{reviewed(review)}"
        )


def reviewed(review: Mapping[str, Any]) -> str:
    """Describes the figures of a review band, see `components.evaluator.review.figures`."""
    share, (low, high) = review["share"], review["intervals"]["share"]
    return (
        f"{share:.2%} of images ({low:.2%} to {high:.2%}); of the others: "
        f"{figures(review, _REVIEWED_NAMES)}"
    )


def figures(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Lists figures with their intervals; those that are not known are left out."""
    ends = found["intervals"]
    return ", ".join(
        f"{text} {_number(name, found[name])}{_interval(name, ends[name])}"
        for name, text in names.items()
        if found.get(name) is not None
    )


def _interval(name: str, ends: Sequence[float] | None) -> str:
    return "" if ends is None else f" ({_number(name, ends[0])} to {_number(name, ends[1])})"


def _number(name: str, value: float) -> str:
    if name not in _PER_THOUSAND:
        return f"{value:.3f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
