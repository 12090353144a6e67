"""The classes that the data holds, rarest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components import names
from components.imbalance_sampler.request import (
    NEGATIVE,
    POSITIVE,
    SamplingError,
    did_you_mean,
    parse_weights,
    quoted,
)


def ranked(counts: Mapping[tuple[str, int], int]) -> list[tuple[str, int]]:
    """Each (class, label), the one with the fewest images first, ties by name."""
    return sorted(counts, key=lambda key: (counts[key], key))


@dataclass(frozen=True)
class Census:
    """Every class with its label and its number of images; a class's place is its rank.

    Attributes:
      classes: names, rarest first, ties by name.
      labels: 1 for the positive side, 0 for the negative.
      counts: images of each class.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, counts: Mapping[tuple[str, int], int]) -> "Census":
        """The census of images counted by (class, label).

        Raises:
          SamplingError: no image, a label that is not 0 or 1, a class on both sides, or one
            that is named as a side and isn't all of it.
        """
        if not counts:
            raise SamplingError("the examples hold no image; there is nothing to draw from")
        keys = ranked(counts)
        classes = tuple(name for name, _ in keys)
        for name, label in keys:
            if label not in (names.NEGATIVE_LABEL, names.POSITIVE_LABEL):
                raise SamplingError(
                    f"class {name!r} has images of label {label}; it must be 0 or 1"
                )
            if classes.count(name) > 1:
                raise SamplingError(f"class {name!r} has images of both labels; give it one")
        _check_side_names(keys)
        return cls(
            classes,
            tuple(label for _, label in keys),
            tuple(counts[key] for key in keys),
        )

    def side(self, label: int) -> tuple[int, ...]:
        """Ranks of the classes with that label."""
        return tuple(rank for rank, found in enumerate(self.labels) if found == label)

    def ranks(self, key: str) -> tuple[int, ...]:
        """Ranks of the classes that a split's key stands for."""
        if key == POSITIVE:
            return self.side(names.POSITIVE_LABEL)
        if key == NEGATIVE:
            return self.side(names.NEGATIVE_LABEL)
        return (self.classes.index(key),)

    def name(self, key: str) -> str:
        """The key itself, or the class where a side holds only that one."""
        ranks = self.ranks(key)
        return self.classes[ranks[0]] if len(ranks) == 1 else key


def _check_side_names(keys: Sequence[tuple[str, int]]) -> None:
    sides = {POSITIVE: names.POSITIVE_LABEL, NEGATIVE: names.NEGATIVE_LABEL}
    for side, label in sides.items():
        of_side = {name for name, found in keys if found == label}
        if any(name == side for name, _ in keys) and of_side != {side}:
            raise SamplingError(
                f"class {side!r} is named as a side, which the settings' key {side!r} stands for, "
                f"and the {side} side has {quoted(sorted(of_side)) if of_side else 'no class'}; "
                "rename the class"
            )


def validate_prevalence(weights: Mapping[str, float], *, positive_class: str) -> None:
    """Refuses, without any data, a prevalence that doesn't weigh both sides.

    Args:
      weights: weight by class or side, such as `{"cats": 10, "dogs": 1}`.
      positive_class: name of the positive class.

    Raises:
      SamplingError: what was given, and what is missing.
    """
    _check_weighs_both(parse_weights(weights, what="prevalence"), {positive_class})


def prevalence(weights: Mapping[str, float] | None, census: Census) -> float:
    """The share of positive images in the real world, in (0, 1).

    Args:
      weights: weight by class or side; None takes the share that the data has.
      census: the data's classes; every one of them must be weighed.

    Raises:
      SamplingError: a class is unknown or not weighed, or the data has only one side.
    """
    if weights is None:
        positives = sum(census.counts[rank] for rank in census.side(names.POSITIVE_LABEL))
        return positives / sum(census.counts)
    parts = parse_weights(weights, what="prevalence")
    positive_classes = {census.classes[rank] for rank in census.side(names.POSITIVE_LABEL)}
    _check_weighs_both(parts, positive_classes)
    for key in parts:
        if key not in {POSITIVE, NEGATIVE, *census.classes}:
            raise SamplingError(
                f"prevalence weighs class {key!r}, which is not there"
                f"{did_you_mean(key, census.classes)}; the classes are {quoted(census.classes)}"
            )
    _check_weighs_each_once(list(parts), census)
    positive = sum(part for key, part in parts.items() if key in {POSITIVE, *positive_classes})
    return float(positive / sum(parts.values()))


def _check_weighs_both(parts: Mapping[str, object], positive_classes: set[str]) -> None:
    positive = {POSITIVE, *positive_classes} & set(parts)
    if not positive or positive == set(parts):
        raise SamplingError(
            f"prevalence must weigh {quoted(sorted(positive_classes))} against the other classes. "
            f"Received: {quoted(parts)}"
        )


def _check_weighs_each_once(keys: list[str], census: Census) -> None:
    weighed = [census.classes[rank] for key in keys for rank in census.ranks(key)]
    for name in census.classes:
        if weighed.count(name) != 1:
            raise SamplingError(
                f"prevalence weighs class {name!r} {weighed.count(name)} times; weigh each class "
                "once, or the two sides 'positive' and 'negative'"
            )
