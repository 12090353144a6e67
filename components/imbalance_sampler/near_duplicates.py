"""Which images resemble one another: their perceptual hashes differ in a few bits at most.

Links form components: images that a chain of links joins belong together. Candidates are
found by bands: of two hashes that differ in d bits, two of d + 2 bands at least are the same
in both. Time grows with the number of pairs that agree in two bands, memory with the number
of images alone.
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
"""Links that are held before they are turned into components: some 16 MiB."""

LARGE_SHARE = 0.05
"""Share of all images above which one cluster deserves a warning."""
_LARGE_SIZE = 10
"""Images in a cluster below which it deserves none, however few there are in all."""
ADVICE = (
    "if a fixed camera makes all pictures alike, set sampler.near_duplicates: {max_distance: 0}"
)


def links(hashes: Hashes, max_distance: int) -> Iterator[Link]:
    """All pairs of hashes that differ in `max_distance` bits or fewer, as pairs of index arrays.

    A pair may come more than once.

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
    """Nodes that edges join, directly or by a chain."""

    def __init__(self, count: int):
        """Begins with `count` nodes and no edge."""
        self._smallest = np.arange(count)
        self._held: list[Link] = []
        self._number = 0

    def join(self, left: Indices, right: Indices) -> None:
        """Adds edges, given as index arrays of one length."""
        self._held.append((left, right))
        self._number += len(left)
        if self._number > _LINKS_AT_ONCE:
            self._merge()

    def smallest(self) -> Indices:
        """For each node the smallest index in its component."""
        self._merge()
        return self._smallest

    def _merge(self) -> None:
        if not self._number:
            return
        count = len(self._smallest)
        left = np.concatenate([np.arange(count), *(left for left, _ in self._held)])
        right = np.concatenate([self._smallest, *(right for _, right in self._held)])
        edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
        number, labels = connected_components(edges, directed=False)
        first = np.full(number, count)
        np.minimum.at(first, labels, np.arange(count))
        self._smallest, self._held, self._number = first[labels], [], 0


def account(clusters: Indices, images: int, max_distance: int) -> dict[str, Any]:
    """How many images resemble others, for the sampler's account.

    Args:
      clusters: intp (n,), a number that images which resemble one another share.
      images: number of all images, n or more.
      max_distance: bits in which near-duplicates differ at most; 0: there are none.

    Returns:
      `max_distance`; `clusters`, how many hold more than one image, and the `images` in
      these; `largest`, the images of the largest, and its `largest_share` of all; `warning`,
      a sentence where that is large, else None.
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
        f"one cluster of near-duplicates holds {largest:,} of {images:,} images "
        f"({largest / images:.0%}), which stay in one split; {ADVICE}"
    )


def _neighbours(band: NDArray[np.uint64]) -> Iterator[Link]:
    """All pairs of equal values in a sorted array."""
    left = np.arange(len(band))
    for distance in itertools.count(1):
        left = left[left + distance < len(band)]
        left = left[band[left] == band[left + distance]]
        if not len(left):
            return
        yield left, left + distance
