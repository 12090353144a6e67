"""Decides over all images at once which stay: duplicates and label conflicts.

Works on digests only. It takes about 100 bytes of memory an image, in the process that runs the
executor.
"""

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from components.image_example_gen.sources import ImageRecord, class_names

LABEL_CONFLICT = "label_conflict"

_SHOWN = 5


class BadImagesError(ValueError):
    """Too many images were refused, or none of a class is left."""


class Refusal(NamedTuple):
    """An image that isn't taken.

    Attributes:
      row: its index in the sorted listing.
      reason: one word, such as `undecodable`.
      detail: what was found, for a person.
    """

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Decoded:
    """The images that decode, in the order of the sorted listing; all arrays are (n,).

    Attributes:
      rows: int64, the index of each in the sorted listing.
      digests: bytes of length 32, SHA-256 of the source's bytes.
    """

    rows: np.ndarray
    digests: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """What stays and what goes.

    Attributes:
      kept: rows of the images that stay.
      duplicates: how many images were dropped because another has the same bytes.
      refusals: the images in quarantine, in the order of the listing.
    """

    kept: set[int]
    duplicates: int
    refusals: list[Refusal]


def judge(records: Sequence[ImageRecord], decoded: Decoded, refusals: Sequence[Refusal]) -> Verdict:
    """Keeps one of each set of equal images, and none whose copies are of different classes.

    Of equal images the one with the smallest uri stays. Where the same bytes stand in two
    classes, nothing says which is right: all copies go to quarantine, also when both classes
    are negative.

    Args:
      records: the sorted listing.
      decoded: the images that decode.
      refusals: the images that don't.
    """
    classes = class_names(records)
    index = {name: position for position, name in enumerate(classes)}
    labels = np.array([index[records[row].class_name] for row in decoded.rows], dtype=np.int64)
    _, first, group = np.unique(decoded.digests, return_index=True, return_inverse=True)
    conflicting = _is_mixed(labels, group, len(first))
    kept = np.zeros(len(labels), dtype=bool)
    kept[first] = True
    kept &= ~conflicting
    conflicts = _conflicts(records, decoded.rows[conflicting], group[conflicting])
    return Verdict(
        kept=set(decoded.rows[kept].tolist()),
        duplicates=int((~kept & ~conflicting).sum()),
        refusals=sorted([*refusals, *conflicts], key=lambda refusal: refusal.row),
    )


def _is_mixed(labels: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """For each image whether its group holds more than one label."""
    lowest = np.full(groups, np.iinfo(np.int64).max)
    highest = np.full(groups, -1)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    return (lowest != highest)[group]


def _conflicts(
    records: Sequence[ImageRecord], rows: np.ndarray, group: np.ndarray
) -> list[Refusal]:
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
    return f"the same bytes are {other.uri} in class {other.class_name}"


def summary(
    records: Sequence[ImageRecord],
    verdict: Verdict,
    *,
    positive_class: str,
    max_bad_fraction: float,
    passed_over: Mapping[str, int],
) -> dict[str, Any]:
    """The account of an ingestion: every listed image is accepted, a duplicate or in quarantine.

    Returns:
      `listed`, `accepted`, `duplicates`, `quarantined` (counts), `by_reason` (count of each
      reason), `by_class` (count of accepted images, for every listed class),
      `passed_over` (count of what was not listed, by kind), `positive_class` and
      `max_bad_fraction`.
    """
    accepted = collections.Counter(records[row].class_name for row in verdict.kept)
    reasons = collections.Counter(refusal.reason for refusal in verdict.refusals)
    return {
        "listed": len(records),
        "accepted": len(verdict.kept),
        "duplicates": verdict.duplicates,
        "quarantined": len(verdict.refusals),
        "by_reason": dict(sorted(reasons.items())),
        "passed_over": dict(sorted(passed_over.items())),
        "by_class": {name: accepted[name] for name in class_names(records)},
        "positive_class": positive_class,
        "max_bad_fraction": max_bad_fraction,
    }


def quarantine_rows(records: Sequence[ImageRecord], verdict: Verdict) -> list[dict[str, str]]:
    """One row for each image in quarantine: `uri`, `class_name`, `reason`, `detail`."""
    return [
        {
            "uri": records[refusal.row].uri,
            "class_name": records[refusal.row].class_name,
            "reason": refusal.reason,
            "detail": refusal.detail,
        }
        for refusal in verdict.refusals
    ]


def complaint(account: dict[str, Any], rows: Sequence[dict[str, str]]) -> str:
    """Why the run must stop, in a sentence; empty where it needn't.

    Args:
      account: see `summary`.
      rows: see `quarantine_rows`.
    """
    quarantined, listed = account["quarantined"], account["listed"]
    gone = [name for name, count in account["by_class"].items() if not count]
    if quarantined <= account["max_bad_fraction"] * listed and not gone:
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in account["by_reason"].items())
    shown = ", ".join(f"{row['uri']} ({row['reason']})" for row in rows[:_SHOWN])
    problem = (
        f"no image of class {gone[0]!r} is left"
        if gone
        else f"more than max_bad_fraction {account['max_bad_fraction']:g} allows"
    )
    return (
        f"{quarantined:,} of {listed:,} images were refused, {problem}: {counts}; "
        f"the first are {shown}"
    )
