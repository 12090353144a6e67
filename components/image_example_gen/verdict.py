"""Decides which images to keep, over all images at once: finds duplicates and label conflicts.

Works on digests only and uses about 150 bytes of memory per image, in the process that runs the
executor.
"""

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.image_example_gen.image_table import ImageRecord, ImageTable
from components.image_example_gen.sources import class_names

LABEL_CONFLICT = "label_conflict"

_SHOWN = 5


class BadImagesError(ValueError):
    """Too many images were refused, or a class has no image left."""


class Refusal(NamedTuple):
    """An image that is refused.

    Attributes:
      row: its index in the sorted listing.
      reason: one word, such as `undecodable`.
      detail: a description of what was found.
    """

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Decoded:
    """The images that decode, in the order of the sorted listing; all arrays are (n,).

    Attributes:
      rows: int64, index of each image in the sorted listing.
      digests: bytes of length 32, SHA-256 of the source's bytes.
    """

    rows: np.ndarray
    digests: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """Which images are kept and which are not.

    Attributes:
      kept: bool (listed,), whether each image of the listing is kept.
      duplicates: number of images dropped because another has the same bytes.
      refusals: the quarantined images, in the order of the listing.
    """

    kept: NDArray[np.bool_]
    duplicates: int
    refusals: list[Refusal]


def judge(records: ImageTable, decoded: Decoded, refusals: Sequence[Refusal]) -> Verdict:
    """Returns which images to keep: one of equal images, none if their classes differ.

    Of equal images the one with the smallest uri is kept. If the same bytes are listed under two
    classes, either may be right: all copies are quarantined, even if both classes are negative.

    Args:
      records: the sorted listing.
      decoded: the images that decode.
      refusals: the images that don't.
    """
    labels = np.asarray(records.classes.numbers)[decoded.rows]
    _, first, group = np.unique(decoded.digests, return_index=True, return_inverse=True)
    conflicting = _is_mixed(labels, group, len(first))
    kept = np.zeros(len(labels), dtype=bool)
    kept[first] = True
    kept &= ~conflicting
    conflicts = _conflicts(records, decoded.rows[conflicting], group[conflicting])
    kept_rows = np.zeros(len(records), dtype=bool)
    kept_rows[decoded.rows[kept]] = True
    return Verdict(
        kept=kept_rows,
        duplicates=int((~kept & ~conflicting).sum()),
        refusals=sorted([*refusals, *conflicts], key=lambda refusal: refusal.row),
    )


def _is_mixed(labels: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Returns for each image whether its group has more than one label."""
    lowest = np.full(groups, np.iinfo(labels.dtype).max, labels.dtype)
    highest = np.zeros(groups, labels.dtype)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    return (lowest != highest)[group]


def _conflicts(records: ImageTable, rows: np.ndarray, group: np.ndarray) -> list[Refusal]:
    members = collections.defaultdict(list)
    for row, key in zip(rows.tolist(), group.tolist(), strict=True):
        members[key].append(row)
    return [
        Refusal(row, LABEL_CONFLICT, _conflict(records[row], [records[other] for other in copies]))
        for copies in members.values()
        for row in copies
    ]


def _conflict(record: ImageRecord, copies: Sequence[ImageRecord]) -> str:
    other = next(copy for copy in copies if copy.class_name != record.class_name)
    return f"the same bytes are also {other.uri} of class {other.class_name}"


def summary(
    records: ImageTable,
    verdict: Verdict,
    *,
    positive_class: str,
    max_bad_fraction: float,
    passed_over: Mapping[str, int],
) -> dict[str, Any]:
    """Returns the summary of an ingestion.

    Every listed image is accepted, a duplicate or quarantined.

    Returns:
      `listed`, `accepted`, `duplicates`, `quarantined` (counts), `by_reason` (count per
      reason), `by_class` (count of accepted images per listed class), `passed_over` (count of
      files and folders that were not listed, by kind), `positive_class` and `max_bad_fraction`.
    """
    numbers = np.asarray(records.classes.numbers)[verdict.kept]
    accepted = np.bincount(numbers, minlength=len(records.classes.values)).tolist()
    by_class = dict(zip(records.classes.values, accepted, strict=True))
    reasons = collections.Counter(refusal.reason for refusal in verdict.refusals)
    return {
        "listed": len(records),
        "accepted": int(verdict.kept.sum()),
        "duplicates": verdict.duplicates,
        "quarantined": len(verdict.refusals),
        "by_reason": dict(sorted(reasons.items())),
        "passed_over": dict(sorted(passed_over.items())),
        "by_class": {name: by_class[name] for name in class_names(records)},
        "positive_class": positive_class,
        "max_bad_fraction": max_bad_fraction,
    }


def quarantine_rows(records: ImageTable, verdict: Verdict) -> list[dict[str, str]]:
    """Returns one row per quarantined image: `uri`, `class_name`, `reason`, `detail`."""
    return [
        {
            "uri": records[refusal.row].uri,
            "class_name": records[refusal.row].class_name,
            "reason": refusal.reason,
            "detail": refusal.detail,
        }
        for refusal in verdict.refusals
    ]


class Refused(NamedTuple):
    """The number of refused images of a span."""

    span: str
    refused: int
    listed: int


def failure(
    counts: Mapping[str, Any], rows: Sequence[dict[str, str]], spans: Sequence[Refused] = ()
) -> str:
    """Returns why the run must stop, as a sentence; empty if it need not stop.

    Args:
      counts: see `summary`.
      rows: see `quarantine_rows`.
      spans: the refused images of each span: a bad one must not be hidden by many good ones.
    """
    limit = counts["max_bad_fraction"]
    whole = Refused("", counts["quarantined"], counts["listed"])
    empty = [name for name, count in counts["by_class"].items() if not count]
    bad = next((each for each in (whole, *spans) if each.refused > limit * each.listed), None)
    if bad is None and not empty:
        return ""
    bad = bad or whole
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts["by_reason"].items())
    shown = ", ".join(f"{row['uri']} ({row['reason']})" for row in rows[:_SHOWN])
    problem = (
        f"no image of class {empty[0]!r} is left"
        if empty
        else f"more than max_bad_fraction {limit:g} allows"
    )
    of_span = f" of span {bad.span}" if bad.span else ""
    return (
        f"{bad.refused:,} of {bad.listed:,} images{of_span} were refused, {problem}: {reasons}; "
        f"the first are {shown}"
    )


def refused_of_spans(records: ImageTable, verdict: Verdict) -> list[Refused]:
    """Returns the numbers of refused images of each span; empty if there are no spans."""
    refused = collections.Counter(records.spans[refusal.row] for refusal in verdict.refusals)
    listed = records.spans.counts()
    return [Refused(span, refused[span], count) for span, count in listed.items() if span]
