"""What the settings ask of the sampler: parsed, checked, and told apart from the data.

Nothing here needs the data or a heavy import, so the settings can be refused before a
run starts: see `validate_splits`.
"""

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from components import names

POSITIVE = "positive"
"""Key of a split: every class on the positive side."""
NEGATIVE = "negative"
"""Key of a split: every class on the negative side, drawn from as if they were one."""

EXACT = "exact"
"""Assignment: each class is cut to the very counts asked for."""
STABLE = "stable"
"""Assignment: each split owns a fixed band of scores, so that images never change split."""
ASSIGNMENTS = (EXACT, STABLE)

DEFAULT_DISTANCE = 4
"""Bits in which the perceptual hashes of near-duplicates differ at most."""
GREATEST_DISTANCE = 8
"""The most that may be asked for: other photographs differ in ten bits and more."""

_RESERVED_SPLITS = frozenset({names.ALL, names.REST})
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOTAL, _RATIO = "total", "ratio"


class SamplingError(ValueError):
    """The splits asked for are malformed, contradict each other, or exceed the data."""


class ShortageError(SamplingError):
    """A split asks for more than it can be given.

    Attributes:
      blocked: further images of the class that can't be taken, since the images that they must
        stay together with are elsewhere.
    """

    def __init__(self, message: str, blocked: int = 0):
        super().__init__(message)
        self.blocked = blocked


@dataclass(frozen=True)
class Ask:
    """How many images of a class, or of a side, a split is to have.

    Attributes:
      key: a class name, `POSITIVE` or `NEGATIVE`.
      amount: an `int` is a number of images, a `Fraction` a share of those there are.
    """

    key: str
    amount: int | Fraction


@dataclass(frozen=True)
class SplitRequest:
    """The asks of one split, in the order of the settings."""

    name: str
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class SamplingRequest:
    """All splits asked for, in the order in which they are drawn."""

    splits: tuple[SplitRequest, ...]
    assignment: str = EXACT


def validate_splits(
    splits: Mapping[str, Any],
    *,
    positive_class: str,
    assignment: str = EXACT,
    classes: Collection[str] | None = None,
) -> SamplingRequest:
    """Refuses, without any data, splits that no data could satisfy.

    Args:
      splits: for each split, sizes by class or side: `{"cats": 1000, "dogs": 100}`; a
        size is a whole number of images or a fraction in (0, 1]. Or a total with a
        ratio: `{"total": 1100, "ratio": {"cats": 10, "dogs": 1}}`.
      positive_class: name of the positive class.
      assignment: `EXACT` or `STABLE`.
      classes: all class names where they are known, to tell a misspelt one.

    Raises:
      SamplingError: what was asked, and what to do instead.
    """
    request = parse_request(splits, assignment=assignment)
    if classes is not None:
        check_class_names(request, classes)
    check_sides(request, {positive_class})
    return request


def parse_request(splits: Mapping[str, Any], *, assignment: str = EXACT) -> SamplingRequest:
    """Reads the splits asked for; `validate_splits` says in what form.

    Raises:
      SamplingError: a name or a size is not allowed, or fractions exceed the whole.
    """
    if assignment not in ASSIGNMENTS:
        raise SamplingError(
            f"assignment must be one of {quoted(ASSIGNMENTS)}. Received: {assignment!r}"
        )
    if not isinstance(splits, Mapping) or not splits:
        raise SamplingError(f"at least one split must be asked for. Received: {splits!r}")
    request = SamplingRequest(
        splits=tuple(_parse_split(name, splits[name]) for name in drawing_order(splits)),
        assignment=assignment,
    )
    _check_fractions(request)
    if assignment == STABLE:
        _check_stable(request)
    return request


def check_max_distance(max_distance: int) -> int:
    """The distance itself, where near-duplicates can be told by it.

    Raises:
      SamplingError: it is out of bounds.
    """
    if not 0 <= max_distance <= GREATEST_DISTANCE:
        raise SamplingError(
            f"near_duplicates.max_distance must be 0, for images of the same bytes only, or up to "
            f"{GREATEST_DISTANCE} bits: the hashes of other photographs differ in ten and more. "
            f"Received: {max_distance}"
        )
    return max_distance


def drawing_order(splits: Iterable[str]) -> list[str]:
    """Test, val, then the others by name, train last.

    Splits drawn early don't depend on the sizes of those drawn later. So test and val
    hold the same images whatever the size of train, the one that is varied most.
    """
    fixed = {names.TEST: 0, names.VAL: 1, names.TRAIN: 3}
    return sorted(splits, key=lambda name: (fixed.get(name, 2), str(name)))


def check_sides(request: SamplingRequest, positive_classes: Collection[str]) -> None:
    """Refuses a split that lacks one of the two sides, or asks for a class twice.

    Raises:
      SamplingError: the split, and what it asks for.
    """
    for split in request.splits:
        positive = [ask for ask in split.asks if ask.key in {POSITIVE, *positive_classes}]
        negative = [ask for ask in split.asks if ask not in positive]
        for side, asks in ((POSITIVE, positive), (NEGATIVE, negative)):
            _check_side(split.name, side, asks, positive_classes)


def check_class_names(request: SamplingRequest, classes: Collection[str]) -> None:
    """Refuses a class that is not there, with the nearest name.

    Raises:
      SamplingError: the split, the unknown class, and the classes there are.
    """
    for split in request.splits:
        for ask in split.asks:
            if ask.key not in {POSITIVE, NEGATIVE, *classes}:
                raise SamplingError(
                    f"split {split.name!r} asks for class {ask.key!r}, which is not there"
                    f"{did_you_mean(ask.key, classes)}; the classes are {quoted(sorted(classes))}"
                )


def quoted(words: Iterable[str]) -> str:
    """The words as a sentence lists them: `'a', 'b' and 'c'`."""
    *first, last = [repr(word) for word in words]
    return f"{', '.join(first)} and {last}" if first else last


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint with the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _parse_split(name: str, sizes: Any) -> SplitRequest:
    if not isinstance(name, str) or not _SPLIT_NAME.fullmatch(name):
        raise SamplingError(
            "a split's name must be made of letters, digits, '_' and '-', the first a letter "
            f"or digit. Received: {name!r}"
        )
    if name in _RESERVED_SPLITS:
        raise SamplingError(f"split name {name!r} is reserved; choose another")
    if not isinstance(sizes, Mapping) or not sizes:
        raise SamplingError(
            f"split {name!r} must give sizes by class, such as {{cats: 1000, dogs: 100}}. "
            f"Received: {sizes!r}"
        )
    if _TOTAL in sizes or _RATIO in sizes:
        sizes = _sizes_by_ratio(name, sizes)
    return SplitRequest(
        name, tuple(Ask(str(key), _parse_size(name, key, size)) for key, size in sizes.items())
    )


def _parse_size(split: str, key: Any, size: Any) -> int | Fraction:
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    if isinstance(size, float) and 0 < size <= 1:
        # By way of its decimal form: 0.1 is meant as a tenth, not as the nearest double.
        return Fraction(str(size))
    raise SamplingError(
        f"split {split!r}, class {key!r}: a size must be a whole number of images, 0 or more, "
        f"or a fraction above 0.0 and up to 1.0. Received: {size!r}"
    )


def _sizes_by_ratio(split: str, sizes: Mapping[str, Any]) -> dict[str, int]:
    """Shares a total by weight; what rounding leaves goes to the largest remainders."""
    if set(sizes) != {_TOTAL, _RATIO}:
        raise SamplingError(
            f"split {split!r} must give both 'total' and 'ratio', and nothing beside them. "
            f"Received: {dict(sizes)!r}"
        )
    total, weights = sizes[_TOTAL], sizes[_RATIO]
    if not isinstance(total, int) or isinstance(total, bool) or total <= 0:
        raise SamplingError(
            f"split {split!r}: total must be a whole number above 0. Received: {total!r}"
        )
    parts = parse_weights(weights, what=f"split {split!r}: ratio")
    shares = {key: total * part / sum(parts.values()) for key, part in parts.items()}
    counts = {key: math.floor(share) for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: (counts[key] - shares[key], key))
    for key in by_remainder[: total - sum(counts.values())]:
        counts[key] += 1
    return counts


def parse_weights(weights: Any, *, what: str) -> dict[str, Fraction]:
    """Positive weights by class, exact.

    Raises:
      SamplingError: not a mapping of classes to numbers above 0; the message opens with
        `what`.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise SamplingError(
            f"{what} must give a weight for each class, such as {{cats: 10, dogs: 1}}. "
            f"Received: {weights!r}"
        )
    for key, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 < weight < math.inf:
            raise SamplingError(
                f"{what}: the weight of {key!r} must be a number above 0. Received: {weight!r}"
            )
    return {str(key): Fraction(str(weight)) for key, weight in weights.items()}


def _check_side(
    split: str, side: str, asks: Sequence[Ask], positive_classes: Collection[str]
) -> None:
    if not any(ask.amount for ask in asks):
        wanted = quoted(positive_classes) if side == POSITIVE else "a class of the negative side"
        raise SamplingError(
            f"split {split!r} has no {side} image in it; ask for at least 1 of {wanted}"
        )
    keys = [ask.key for ask in asks]
    if side in keys and len(keys) > 1 and set(keys) - {side}:
        raise SamplingError(
            f"split {split!r} asks for {quoted(keys)}: {side!r} holds the others already; "
            "name the side or its classes"
        )


def _check_fractions(request: SamplingRequest) -> None:
    sums: dict[str, Fraction] = {}
    for split in request.splits:
        for ask in split.asks:
            if isinstance(ask.amount, Fraction):
                sums[ask.key] = sums.get(ask.key, Fraction(0)) + ask.amount
    for key, total in sums.items():
        if total > 1:
            raise SamplingError(
                f"the splits' fractions of {key!r} add up to {float(total):g}, more than all there "
                "is; lower them to 1.0 or less"
            )


def _check_stable(request: SamplingRequest) -> None:
    kinds = {isinstance(ask.amount, Fraction) for split in request.splits for ask in split.asks}
    if len(kinds) > 1:
        raise SamplingError(
            "assignment 'stable' needs the splits' proportions before the data: ask for whole "
            "numbers throughout, or for fractions throughout"
        )
    widest = sum(max(ask.amount for ask in split.asks) for split in request.splits)
    if True in kinds and widest > 1:
        raise SamplingError(
            "assignment 'stable' gives each split one band for all classes, as wide as its largest "
            f"fraction; these add up to {float(widest):g}; lower them to 1.0 or less"
        )
