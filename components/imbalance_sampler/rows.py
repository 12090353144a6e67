"""Images without their pixels: a few packed numbers each, sorted into units.

A unit is what must stay together: the images of one score. Units, not images, are
placed by the rule; a lone image is a unit of one.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.scores import SCORE_BITS

Rows = NDArray[np.void]

SCANNED = np.dtype(
    [
        ("unit", "<i8"),  # score of what the image must stay together with
        ("image", "<i8"),  # score of the image itself: its place within the unit
        ("look", "<i8"),  # score of its perceptual hash
        ("class_key", "<u8"),
        ("shard", "<u4"),
        ("position", "<u4"),  # in the shard, from 0
        ("spare", "?"),
    ]
)
"""A row as it leaves a shard."""

SORTED = np.dtype(
    [
        ("unit", "<i8"),
        ("image", "<i8"),
        ("class", "<u2"),  # rank in the census
        ("owner", "<u2"),  # rank of the unit's rarest class
        ("shard", "<u4"),
        ("position", "<u4"),
        ("spare", "?"),  # never drawn: another image stands for it
    ]
)
"""A row of a bucket, which holds whole units in the order of (unit, image)."""


def class_key(name: str) -> int:
    """A number that stands for a class name until all classes are known and ranked."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def bucket_of(scores: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The leading `bits` bits of each score: the bucket in which it lies."""
    return scores >> (SCORE_BITS - bits)


def mark_lookalikes(rows: Rows) -> Rows:
    """Marks as spare the near-duplicates that would tie two groups together.

    Of images that look alike, those of the group with the lowest score stand for all.
    Merging the groups instead would let one common look, such as a black frame, chain
    most of the data into a single unit that no split could take.

    Args:
      rows: `SCANNED`, every row of each look that occurs.
    """
    rows = rows[np.lexsort((rows["unit"], rows["look"]))]
    first = np.flatnonzero(np.diff(rows["look"], prepend=-1))
    lowest = np.repeat(rows["unit"][first], np.diff(first, append=len(rows)))
    rows["spare"] = rows["unit"] != lowest
    return rows


def sort_bucket(rows: Rows, classes: Sequence[str]) -> Rows:
    """The rows as `SORTED`, whatever order they came in.

    An image that is there twice is drawn once: its second row is spare.

    Args:
      rows: `SCANNED`, every row of each unit that occurs.
      classes: all class names, by rank.
    """
    keys = np.array([class_key(name) for name in classes], np.uint64)
    by_key = np.argsort(keys)
    ranks = by_key[np.searchsorted(keys, rows["class_key"], sorter=by_key)]
    order = np.lexsort(
        (rows["position"], rows["shard"], ranks, rows["spare"], rows["image"], rows["unit"])
    )
    bucket = np.empty(len(rows), SORTED)
    for field in ("unit", "image", "shard", "position", "spare"):
        bucket[field] = rows[field][order]
    bucket["class"] = ranks[order]
    same = (np.diff(bucket["unit"], prepend=-1) == 0) & (np.diff(bucket["image"], prepend=-1) == 0)
    bucket["spare"] |= same
    starts = unit_starts(bucket)
    sizes = np.diff(starts, append=len(bucket))
    bucket["owner"] = np.repeat(np.minimum.reduceat(bucket["class"], starts), sizes)
    return bucket


def unit_starts(bucket: Rows) -> NDArray[np.intp]:
    """Index of the first row of each unit of a bucket."""
    return np.flatnonzero(np.diff(bucket["unit"], prepend=-1))


def tally(bucket: Rows) -> list[tuple[int, int, int]]:
    """Drawable images of a bucket by (owner, class): `(owner, class, images)`."""
    drawable = bucket[~bucket["spare"]]
    pairs = np.stack([drawable["owner"], drawable["class"]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(int(o), int(c), int(n)) for (o, c), n in zip(found, counts, strict=True)]
