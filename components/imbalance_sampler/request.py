"""Parses and checks the sampler's settings.

Nothing here needs the data or a heavy import, so invalid settings are refused before a
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
from components.messages import InputError

POSITIVE = "positive"
"""Key of a split: every class on the positive side."""
NEGATIVE = "negative"
"""Key of a split: every class on the negative side, drawn as if they were one class."""

EXACT = "exact"
"""Assignment: each split gets exactly the requested number of each class."""
STABLE = "stable"
"""Assignment: each split owns a fixed band of scores, so that images never change split."""
ASSIGNMENTS = (EXACT, STABLE)

DEFAULT_DISTANCE = 4
"""Maximum number of bits in which the perceptual hashes of near-duplicates differ."""
GREATEST_DISTANCE = 8
"""The largest distance allowed: different photographs differ in ten or more bits."""

_RESERVED_SPLITS = frozenset({names.ALL, names.REST})
_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOTAL, _RATIO = "total", "ratio"


class SamplingError(InputError):
    """The requested splits are malformed, contradict each other, or exceed the data."""


class ShortageError(SamplingError):
    """A split asks for more images than are available to it.

    Attributes:
      blocked: further images of the class that can't be taken because of their groups or
        near-duplicates.
    """

    def __init__(self, message: str, blocked: int = 0):
        super().__init__(message)
        self.blocked = blocked


@dataclass(frozen=True)
class ClassSize:
    """The requested size of a class, or of a side, in a split.

    Attributes:
      key: a class name, `POSITIVE` or `NEGATIVE`.
      amount: an `int` is a number of images, a `Fraction` a share of the available ones.
    """

    key: str
    amount: int | Fraction


@dataclass(frozen=True)
class SplitRequest:
    """The requested sizes of one split, in the order of the settings."""

    name: str
    sizes: tuple[ClassSize, ...]


@dataclass(frozen=True)
class SamplingRequest:
    """All requested splits, in the order in which they are drawn."""

    splits: tuple[SplitRequest, ...]
    assignment: str = EXACT


def validate_splits(
    splits: Mapping[str, Any],
    *,
    positive_class: str,
    assignment: str = EXACT,
    classes: Collection[str] | None = None,
) -> SamplingRequest:
    """Checks, without any data, that some data could satisfy the splits.

    Args:
      splits: for each split, sizes by class or side: `{"cats": 1000, "dogs": 100}`; a
        size is a whole number of images or a fraction in (0, 1]. Or a total with a
        ratio: `{"total": 1100, "ratio": {"cats": 10, "dogs": 1}}`.
      positive_class: name of the positive class.
      assignment: `EXACT` or `STABLE`.
      classes: all class names if they are known, to find misspelt ones.

    Raises:
      SamplingError: the splits are invalid; the message gives the setting and what to do.
    """
    request = parse_request(splits, assignment=assignment)
    if classes is not None:
        check_class_names(request, classes)
    check_sides(request, {positive_class})
    return request


def parse_request(splits: Mapping[str, Any], *, assignment: str = EXACT) -> SamplingRequest:
    """Parses the requested splits; `validate_splits` describes their form.

    Raises:
      SamplingError: a name or a size is not allowed, or fractions add up to more than 1.
    """
    if assignment not in ASSIGNMENTS:
        raise SamplingError(
            f"assignment must be one of {quoted(ASSIGNMENTS)}. Received: {assignment!r}"
        )
    if not isinstance(splits, Mapping) or not splits:
        raise SamplingError(f"at least one split is required. Received: {splits!r}")
    request = SamplingRequest(
        splits=tuple(_parse_split(name, splits[name]) for name in drawing_order(splits)),
        assignment=assignment,
    )
    _check_fractions(request)
    if assignment == STABLE:
        _check_stable(request)
    return request


def check_max_distance(max_distance: int) -> int:
    """Returns the distance unchanged if it is valid.

    Raises:
      SamplingError: it is out of bounds.
    """
    if not 0 <= max_distance <= GREATEST_DISTANCE:
        raise SamplingError(
            f"near_duplicates.max_distance must be 0, for images of the same bytes only, or up to "
            f"{GREATEST_DISTANCE} bits, as the hashes of different photographs differ in ten or "
            f"more. Received: {max_distance}"
        )
    return max_distance


def check_draws(draws: int, *, assignment: str, keep_rest: bool) -> None:
    """Checks that the splits can be drawn several times.

    Raises:
      SamplingError: there are several draws, and images may not change their split between
        draws, or the images that no split took are to be written, which differ between draws.
    """
    if draws > 1 and assignment == STABLE:
        raise SamplingError(
            "the splits can be drawn several times only with assignment 'exact': with 'stable' "
            f"an image never changes its split. Received: {draws} draws with {assignment!r}"
        )
    if draws > 1 and keep_rest:
        raise SamplingError(
            "keep_rest must be false if the splits are drawn several times, since each draw "
            f"leaves other images. Received: {draws} draws with keep_rest"
        )


def drawing_order(splits: Iterable[str]) -> list[str]:
    """Returns the split names in drawing order: test, val, the others by name, train.

    Splits drawn early don't depend on the sizes of those drawn later. So test and val
    contain the same images for any size of train, the one that is varied most.
    """
    fixed = {names.TEST: 0, names.VAL: 1, names.TRAIN: 3}
    return sorted(splits, key=lambda name: (fixed.get(name, 2), str(name)))


def check_sides(request: SamplingRequest, positive_classes: Collection[str]) -> None:
    """Checks that each split has both sides, and no class twice.

    Raises:
      SamplingError: a side is missing, or a side is requested as well as one of its classes.
    """
    for split in request.splits:
        positive = [size for size in split.sizes if size.key in {POSITIVE, *positive_classes}]
        negative = [size for size in split.sizes if size not in positive]
        for side, sizes in ((POSITIVE, positive), (NEGATIVE, negative)):
            _check_side(split.name, side, sizes, positive_classes)


def check_class_names(request: SamplingRequest, classes: Collection[str]) -> None:
    """Checks that every requested class exists.

    Raises:
      SamplingError: a class does not exist; the message gives the nearest name and all classes.
    """
    for split in request.splits:
        for size in split.sizes:
            if size.key not in {POSITIVE, NEGATIVE, *classes}:
                raise SamplingError(
                    f"split {split.name!r}: a class must be one of {quoted(sorted(classes))}. "
                    f"Received: {size.key!r}{did_you_mean(size.key, classes)}"
                )


def quoted(words: Iterable[str]) -> str:
    """Formats words as a list in a sentence: `'a', 'b' and 'c'`."""
    *first, last = [repr(word) for word in words]
    return f"{', '.join(first)} and {last}" if first else last


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Returns a hint with the nearest known word; '' if none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _parse_split(name: str, sizes: Any) -> SplitRequest:
    if not isinstance(name, str) or not _SPLIT_NAME.fullmatch(name):
        raise SamplingError(
            "a split's name must be made of letters, digits, '_' and '-', the first a letter "
            f"or digit. Received: {name!r}"
        )
    if name in _RESERVED_SPLITS:
        raise SamplingError(
            f"a split's name must not be {quoted(sorted(_RESERVED_SPLITS))}, which are reserved. "
            f"Received: {name!r}"
        )
    if not isinstance(sizes, Mapping) or not sizes:
        raise SamplingError(
            f"split {name!r} must have sizes by class, such as {{cats: 1000, dogs: 100}}. "
            f"Received: {sizes!r}"
        )
    if _TOTAL in sizes or _RATIO in sizes:
        sizes = _sizes_by_ratio(name, sizes)
    parsed = (ClassSize(str(key), _parse_size(name, key, size)) for key, size in sizes.items())
    return SplitRequest(name, tuple(parsed))


def _parse_size(split: str, key: Any, size: Any) -> int | Fraction:
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    if isinstance(size, float) and 0 < size <= 1:
        # From its decimal form: 0.1 means a tenth, not the nearest double.
        return Fraction(str(size))
    raise SamplingError(
        f"split {split!r}, class {key!r}: a size must be a whole number of images, 0 or more, "
        f"or a fraction above 0.0 and up to 1.0. Received: {size!r}"
    )


def _sizes_by_ratio(split: str, sizes: Mapping[str, Any]) -> dict[str, int]:
    """Divides a total by weight; the largest remainders are rounded up."""
    if set(sizes) != {_TOTAL, _RATIO}:
        raise SamplingError(
            f"split {split!r} must have both 'total' and 'ratio', and no other key. "
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
    """Returns the weights by class as exact fractions.

    Raises:
      SamplingError: they are not a mapping of classes to numbers above 0; the message starts
        with `what`.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise SamplingError(
            f"{what} must have a weight for each class, such as {{cats: 10, dogs: 1}}. "
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
    split: str, side: str, sizes: Sequence[ClassSize], positive_classes: Collection[str]
) -> None:
    if not any(size.amount for size in sizes):
        missing = quoted(positive_classes) if side == POSITIVE else "a class of the negative side"
        raise SamplingError(f"split {split!r} has no {side} image; request at least 1 of {missing}")
    keys = [size.key for size in sizes]
    if side in keys and len(keys) > 1 and set(keys) - {side}:
        raise SamplingError(
            f"split {split!r} must have either side {side!r}, which includes its classes, or these "
            f"classes. Received: {quoted(keys)}"
        )


def _check_fractions(request: SamplingRequest) -> None:
    sums: dict[str, Fraction] = {}
    for split in request.splits:
        for size in split.sizes:
            if isinstance(size.amount, Fraction):
                sums[size.key] = sums.get(size.key, Fraction(0)) + size.amount
    for key, total in sums.items():
        if total > 1:
            raise SamplingError(
                f"the splits' fractions of {key!r} must add up to 1.0 or less. "
                f"Received: a total of {float(total):g}"
            )


def _check_stable(request: SamplingRequest) -> None:
    kinds = {isinstance(size.amount, Fraction) for split in request.splits for size in split.sizes}
    if len(kinds) > 1:
        raise SamplingError(
            "with assignment 'stable', the splits' sizes must all be whole numbers, or all be "
            "fractions: their proportions must not depend on the data. Received: both"
        )
    widest = sum(max(size.amount for size in split.sizes) for split in request.splits)
    if True in kinds and widest > 1:
        raise SamplingError(
            "with assignment 'stable', the largest fractions of the splits must add up to 1.0 or "
            "less: each split has one band for all classes, as wide as its largest fraction. "
            f"Received: a total of {float(widest):g}"
        )
