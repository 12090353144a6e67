"""Images without their pixels: a few packed numbers each, sorted into units.

A unit is the images that must stay together: those with the same unit score. Units, not single
images, are assigned to splits; a unit may be a single image. `units` forms them.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.imbalance_sampler.scores import SCORE_BITS

Rows = NDArray[np.void]

UNPLACED = -1
"""Used instead of a score if there is none."""

SCANNED = np.dtype(
    [
        ("unit", "<i8"),  # score of the image's unit
        ("image", "<i8"),  # score of the image itself: its order within the unit
        ("group", "<i8"),  # score of its group, or UNPLACED
        ("id", "S16"),  # of its identity, see `scores.fingerprints`
        ("hash", "<u8"),  # perceptual hash
        ("hashed", "?"),  # whether it has one
        ("class_key", "<u8"),
        ("shard", "<u4"),
        ("position", "<u4"),  # in the shard, from 0
        ("excluded", "?"),  # never drawn
    ]
)
"""A row as it is read from a shard; `unit` and `excluded` are filled in later for all rows."""

PLACED = np.dtype(
    [
        ("id", "S16"),
        ("hash", "<u8"),
        ("hashed", "?"),
        ("unit", "<i8"),  # or UNPLACED: it was held back
    ]
)
"""A row of the ledger: an image of an earlier draw, and the unit in which it stays."""

SORTED = np.dtype(
    [
        ("unit", "<i8"),
        ("image", "<i8"),
        ("class", "<u2"),  # rank in the census
        ("owner", "<u2"),  # rank of the unit's rarest class
        ("shard", "<u4"),
        ("position", "<u4"),
        ("excluded", "?"),  # never drawn
    ]
)
"""A row of a bucket, which contains complete units sorted by (unit, image)."""


def class_key(name: str) -> int:
    """Returns a number that stands for a class name until all classes are known and ranked."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def bucket_of(scores: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Returns the leading `bits` bits of each score: the number of its bucket."""
    return scores >> (SCORE_BITS - bits)


def sort_bucket(rows: Rows, classes: Sequence[str]) -> Rows:
    """Returns the rows as `SORTED`; their input order does not matter.

    An image that occurs twice is drawn once: its second row is excluded.

    Args:
      rows: `SCANNED` (n,), complete units.
      classes: all class names, by rank.
    """
    keys = np.array([class_key(name) for name in classes], np.uint64)
    by_key = np.argsort(keys)
    ranks = by_key[np.searchsorted(keys, rows["class_key"], sorter=by_key)]
    order = np.lexsort(
        (rows["position"], rows["shard"], ranks, rows["excluded"], rows["image"], rows["unit"])
    )
    bucket = np.empty(len(rows), SORTED)
    for field in ("unit", "image", "shard", "position", "excluded"):
        bucket[field] = rows[field][order]
    bucket["class"] = ranks[order]
    same = (np.diff(bucket["unit"], prepend=-1) == 0) & (np.diff(bucket["image"], prepend=-1) == 0)
    bucket["excluded"] |= same
    starts = unit_starts(bucket)
    sizes = np.diff(starts, append=len(bucket))
    bucket["owner"] = np.repeat(np.minimum.reduceat(bucket["class"], starts), sizes)
    return bucket


def unit_starts(bucket: Rows) -> NDArray[np.intp]:
    """Returns the index of the first row of each unit of a bucket."""
    return np.flatnonzero(np.diff(bucket["unit"], prepend=-1))


def tally(bucket: Rows) -> list[tuple[int, int, int]]:
    """Counts the drawable images of a bucket: `(owner, class, images)`."""
    drawable = bucket[~bucket["excluded"]]
    pairs = np.stack([drawable["owner"], drawable["class"]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(int(o), int(c), int(n)) for (o, c), n in zip(found, counts, strict=True)]
