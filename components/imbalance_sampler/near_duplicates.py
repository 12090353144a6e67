"""Finds near-duplicates: images whose perceptual hashes differ in a few bits at most.

Images that are linked directly or by a chain form a component. Candidates are found by bands:
two hashes that differ in d bits are equal in at least two of d + 2 bands. Time grows with the
number of pairs that are equal in two bands, memory with the number of images alone.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Hashes = NDArray[np.uint64]
Indices = NDArray[np.intp]
Link = tuple[Indices, Indices]

_HASH_BITS = 64
_LINKS_AT_ONCE = 1 << 20
"""Links that are buffered before they are merged into components: about 16 MiB."""

LARGE_SHARE = 0.05
"""Share of all images above which a cluster gives a warning."""
_LARGE_SIZE = 10
"""Images in a cluster below which it gives no warning, whatever its share."""
ADVICE = (
    "if all images are similar, as those of a fixed camera, set "
    "sampler.near_duplicates: {max_distance: 0}"
)


def links(hashes: Hashes, max_distance: int) -> Iterator[Link]:
    """Yields all pairs of hashes that differ in at most `max_distance` bits, as index arrays.

    A pair may occur more than once.

    Args:
      hashes: uint64 (n,), distinct, in any order.
      max_distance: 1 or more.
    """
    edges = np.linspace(0, _HASH_BITS, max_distance + 3).astype(int).tolist()
    masks = [(1 << end) - (1 << start) for start, end in itertools.pairwise(edges)]
    for one, other in itertools.combinations(masks, 2):
        bands = hashes & np.uint64(one | other)
        order = np.argsort(bands)
        for left, right in _neighbours(bands[order]):
            near = np.bitwise_count(hashes[order[left]] ^ hashes[order[right]]) <= max_distance
            if near.any():
                yield order[left[near]], order[right[near]]


class Components:
    """The connected components of a graph."""

    def __init__(self, count: int):
        """Starts with `count` nodes and no edge."""
        self._smallest = np.arange(count)
        self._buffer: list[Link] = []
        self._number = 0

    def join(self, left: Indices, right: Indices) -> None:
        """Adds edges, given as index arrays of equal length."""
        self._buffer.append((left, right))
        self._number += len(left)
        if self._number > _LINKS_AT_ONCE:
            self._merge()

    def smallest(self) -> Indices:
        """Returns, for each node, the smallest index in its component."""
        self._merge()
        return self._smallest

    def _merge(self) -> None:
        if not self._number:
            return
        count = len(self._smallest)
        left = np.concatenate([np.arange(count), *(left for left, _ in self._buffer)])
        right = np.concatenate([self._smallest, *(right for _, right in self._buffer)])
        edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
        number, labels = connected_components(edges, directed=False)
        first = np.full(number, count)
        np.minimum.at(first, labels, np.arange(count))
        self._smallest, self._buffer, self._number = first[labels], [], 0


def summary(clusters: Indices, images: int, max_distance: int) -> dict[str, Any]:
    """Counts near-duplicates, for the sampler's report.

    Args:
      clusters: intp (n,), a number that is the same for images of one cluster.
      images: number of all images, n or more.
      max_distance: maximum number of bits in which near-duplicates differ; 0: there are none.

    Returns:
      `max_distance`; `clusters`, the number of clusters with more than one image, and `images`,
      the images in them; `largest`, the images of the largest cluster, and `largest_share`, its
      share of all; `warning`, a sentence if that share is large, else None.
    """
    sizes = np.bincount(clusters)
    sizes = sizes[sizes > 1]
    largest = int(sizes.max(initial=0))
    share = largest / images if images else 0.0
    return {
        "max_distance": max_distance,
        "clusters": len(sizes),
        "images": int(sizes.sum()),
        "largest": largest,
        "largest_share": share,
        "warning": _warning(largest, images) if _is_large(largest, share) else None,
    }


def _is_large(largest: int, share: float) -> bool:
    return share > LARGE_SHARE and largest >= _LARGE_SIZE


def _warning(largest: int, images: int) -> str:
    return (
        f"one cluster of near-duplicates contains {largest:,} of {images:,} images "
        f"({largest / images:.0%}), which all go to one split; {ADVICE}"
    )


def _neighbours(band: NDArray[np.uint64]) -> Iterator[Link]:
    """Yields all pairs of equal values in a sorted array, as index arrays."""
    left = np.arange(len(band))
    for distance in itertools.count(1):
        left = left[left + distance < len(band)]
        left = left[band[left] == band[left + distance]]
        if not len(left):
            return
        yield left, left + distance
