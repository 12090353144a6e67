"""Decides which slices are computed: those that the images have, and not too many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components import names, slice_columns

MAX_COMBINATIONS = 2_000
"""Combinations of values above which metrics are not sliced by a cross of columns."""


# Bands of a measure.
_BANDS = 3


@dataclass
class Choice:
    """The slices to compute.

    Attributes:
      groups: lists of columns to slice by; a list of several crosses them.
      bounds: upper bounds of the lower and the middle band, by measure.
      left_out: why slices were requested, but are not computed, in words, by their columns joined
        by `, `.
    """

    groups: list[list[str]] = field(default_factory=list)
    bounds: dict[names.Band, tuple[float, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """All columns of the groups, and the class, sorted."""
        return sorted({names.CLASS_NAME, *(column for group in self.groups for column in group)})


def choose(
    slices: Sequence[Sequence[str]],
    requested_bands: Sequence[names.Band],
    known: Mapping[str, Any] | None,
) -> Choice:
    """Returns the slices to compute.

    Args:
      slices: lists of columns; a list of several crosses them.
      requested_bands: measures to slice by.
      known: see `slice_columns.summarize`; None for examples of an older version.
    """
    choice = Choice()
    for band in requested_bands:
        if reason := _missing_band(band, known):
            choice.left_out[band] = reason
        else:
            assert known is not None
            low, high = known[slice_columns.BANDS][band]
            choice.bounds[band] = low, high
    values = {} if known is None else known[slice_columns.VALUES]
    of_bands: list[list[str]] = [[band] for band in choice.bounds]
    for group in [*map(list, slices), *of_bands]:
        if reason := _too_many(group, values) or _without_band(group, choice):
            choice.left_out[", ".join(group)] = reason
        else:
            choice.groups.append(group)
    return choice


def _missing_band(band: names.Band, known: Mapping[str, Any] | None) -> str:
    if known is None:
        return "the images were read by an older version, which did not measure it"
    if known[slice_columns.BANDS][band] is None:
        return "all images have the same value"
    return ""


def _too_many(group: Sequence[str], values: Mapping[str, int]) -> str:
    combinations = 1
    for column in group:
        count = _BANDS if column in names.BANDS else values.get(column, 1)
        if count > slice_columns.MAX_VALUES:
            return (
                f"{column} has {count:,} values, and metrics are sliced by at most "
                f"{slice_columns.MAX_VALUES:,}; group the values in another column"
            )
        combinations *= count
    if combinations > MAX_COMBINATIONS:
        return (
            f"there may be {combinations:,} combinations, and metrics are sliced by at most "
            f"{MAX_COMBINATIONS:,}; group the values in other columns"
        )
    return ""


def _without_band(group: Sequence[str], choice: Choice) -> str:
    missing = [column for column in group if column in names.BANDS and column not in choice.bounds]
    return f"there are no bands of {missing[0]}" if missing else ""
