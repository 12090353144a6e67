"""The classes of the data, rarest first."""

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
    """Returns each (class, label), fewest images first, ties by name."""
    return sorted(counts, key=lambda key: (counts[key], key))


@dataclass(frozen=True)
class Census:
    """Every class with its label and number of images; the rank of a class is its position.

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
        """Makes the census of images counted by (class, label).

        Raises:
          SamplingError: there is no image, a label is not 0 or 1, a class is on both sides, or
            one has the name of a side but is not the only class of that side.
        """
        if not counts:
            raise SamplingError("the examples contain no image, so there is nothing to draw from")
        keys = ranked(counts)
        classes = tuple(name for name, _ in keys)
        for name, label in keys:
            if label not in (names.NEGATIVE_LABEL, names.POSITIVE_LABEL):
                raise SamplingError(f"class {name!r}: the label must be 0 or 1. Received: {label}")
            if classes.count(name) > 1:
                raise SamplingError(
                    f"class {name!r} has images of both labels; give all of them the same label"
                )
        _check_side_names(keys)
        return cls(
            classes,
            tuple(label for _, label in keys),
            tuple(counts[key] for key in keys),
        )

    def side(self, label: int) -> tuple[int, ...]:
        """Returns the ranks of the classes with that label."""
        return tuple(rank for rank, found in enumerate(self.labels) if found == label)

    def ranks(self, key: str) -> tuple[int, ...]:
        """Returns the ranks of the classes that a split's key stands for."""
        if key == POSITIVE:
            return self.side(names.POSITIVE_LABEL)
        if key == NEGATIVE:
            return self.side(names.NEGATIVE_LABEL)
        return (self.classes.index(key),)

    def name(self, key: str) -> str:
        """Returns the key, or the name of the class if a side has only one."""
        ranks = self.ranks(key)
        return self.classes[ranks[0]] if len(ranks) == 1 else key


def _check_side_names(keys: Sequence[tuple[str, int]]) -> None:
    sides = {POSITIVE: names.POSITIVE_LABEL, NEGATIVE: names.NEGATIVE_LABEL}
    for side, label in sides.items():
        of_side = {name for name, found in keys if found == label}
        if any(name == side for name, _ in keys) and of_side != {side}:
            raise SamplingError(
                f"class {side!r} has the name of a side, so the settings' key {side!r} would be "
                f"ambiguous: the {side} side has "
                f"{quoted(sorted(of_side)) if of_side else 'no class'}; rename the class"
            )


def validate_prevalence(weights: Mapping[str, float], *, positive_class: str) -> None:
    """Checks, without any data, that a prevalence gives a weight to both sides.

    Args:
      weights: weight by class or side, such as `{"cats": 10, "dogs": 1}`.
      positive_class: name of the positive class.

    Raises:
      SamplingError: a weight is malformed, or one side has none.
    """
    _check_both_sides_weighted(parse_weights(weights, what="prevalence"), {positive_class})


def prevalence(weights: Mapping[str, float] | None, census: Census) -> float:
    """Returns the share of positive images in the real world, in (0, 1).

    Args:
      weights: weight by class or side; None for the share in the data.
      census: the data's classes; each of them must have a weight.

    Raises:
      SamplingError: a class is unknown or has no weight, or only one side has weights.
    """
    if weights is None:
        positives = sum(census.counts[rank] for rank in census.side(names.POSITIVE_LABEL))
        return positives / sum(census.counts)
    parts = parse_weights(weights, what="prevalence")
    positive_classes = {census.classes[rank] for rank in census.side(names.POSITIVE_LABEL)}
    _check_both_sides_weighted(parts, positive_classes)
    for key in parts:
        if key not in {POSITIVE, NEGATIVE, *census.classes}:
            raise SamplingError(
                f"prevalence: a class must be one of {quoted(census.classes)}. "
                f"Received: {key!r}{did_you_mean(key, census.classes)}"
            )
    _check_each_weighted_once(list(parts), census)
    positive = sum(part for key, part in parts.items() if key in {POSITIVE, *positive_classes})
    return float(positive / sum(parts.values()))


def _check_both_sides_weighted(parts: Mapping[str, object], positive_classes: set[str]) -> None:
    positive = {POSITIVE, *positive_classes} & set(parts)
    if not positive or positive == set(parts):
        raise SamplingError(
            f"prevalence must have weights for {quoted(sorted(positive_classes))} and for the "
            f"other classes. Received: weights for {quoted(parts)}"
        )


def _check_each_weighted_once(keys: list[str], census: Census) -> None:
    weighted = [census.classes[rank] for key in keys for rank in census.ranks(key)]
    for name in census.classes:
        if weighted.count(name) != 1:
            raise SamplingError(
                "prevalence must have one weight for each class, or one for each of the sides "
                f"'positive' and 'negative'. Received: {weighted.count(name)} weights for {name!r}"
            )
