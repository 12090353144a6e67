"""Which images resemble one another: their perceptual hashes differ in a few bits at most.

Links form components: images that a chain of links joins belong together. Candidates are
found by bands: of two hashes that differ in d bits, one of d + 1 bands at least is the same
in both. Time grows with the number of pairs that agree in a band, memory with the number of
images alone.
"""

import itertools
from collections.abc import Iterable, Iterator
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
    edges = np.linspace(0, _HASH_BITS, max_distance + 2).astype(int).tolist()
    for start, end in itertools.pairwise(edges):
        band = (hashes >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
        order = np.argsort(band, kind="stable")
        for left, right in _neighbours(band[order]):
            near = np.bitwise_count(hashes[order[left]] ^ hashes[order[right]]) <= max_distance
            if near.any():
                yield order[left[near]], order[right[near]]


def components(count: int, pairs: Iterable[Link]) -> Indices:
    """The component of each of `count` nodes: the smallest index in it.

    Args:
      count: number of nodes.
      pairs: the edges, as pairs of index arrays.
    """
    smallest = np.arange(count)
    held: list[Link] = []
    number = 0
    for pair in pairs:
        held.append(pair)
        number += len(pair[0])
        if number > _LINKS_AT_ONCE:
            smallest, held, number = _joined(smallest, held), [], 0
    return _joined(smallest, held)


def clusters(hashes: Hashes, max_distance: int) -> Indices:
    """A number for each hash that those it is linked to, directly or by a chain, share.

    Args:
      hashes: uint64 (n,), in any order; equal ones are linked.
      max_distance: bits in which linked hashes differ at most, 1 or more.

    Returns:
      intp (n,): index, in the sorted distinct hashes, of the smallest hash of its cluster.
    """
    distinct, inverse = np.unique(hashes, return_inverse=True)
    return components(len(distinct), links(distinct, max_distance))[inverse]


def account(hashes: Hashes, images: int, max_distance: int) -> dict[str, Any]:
    """How many images resemble others, for the sampler's account.

    Args:
      hashes: uint64 (n,), of all images that have one.
      images: number of all images.
      max_distance: bits in which near-duplicates differ at most; 0: there are none.

    Returns:
      `max_distance`; `clusters`, how many hold more than one image, and the `images` in
      these; `largest`, the images of the largest, and its `largest_share` of all; `warning`,
      a sentence where that is large, else None.
    """
    sizes = np.zeros(0, np.int64)
    if max_distance:
        sizes = np.bincount(clusters(hashes, max_distance))
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


def _joined(smallest: Indices, pairs: list[Link]) -> Indices:
    """The components after more edges have been added to them."""
    if not pairs:
        return smallest
    count = len(smallest)
    left = np.concatenate([np.arange(count), *(left for left, _ in pairs)])
    right = np.concatenate([smallest, *(right for _, right in pairs)])
    edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    number, labels = connected_components(edges, directed=False)
    first = np.full(number, count)
    np.minimum.at(first, labels, np.arange(count))
    return first[labels]


def _neighbours(band: NDArray[np.uint64]) -> Iterator[Link]:
    """All pairs of equal values in a sorted array."""
    left = np.arange(len(band))
    for distance in itertools.count(1):
        left = left[left + distance < len(band)]
        left = left[band[left] == band[left + distance]]
        if not len(left):
            return
        yield left, left + distance
