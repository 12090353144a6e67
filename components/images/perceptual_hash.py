"""A 64-bit hash that near-duplicate images share, and the clusters that hashes form.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010): the signs of an image's lowest frequencies. Re-encoding, resizing and
small changes of brightness or crop flip few of its bits; other photographs differ in ten
and more.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image

MAX_DISTANCE = 4
"""Bits in which the hashes of near-duplicates differ at most."""

_GRID = 32
_SIZE = (_GRID, _GRID)
_FREQUENCIES = 8

# Hashes that differ in four bits agree in one of five bands at least.
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))


def _cosines() -> np.ndarray:
    frequency = np.arange(_FREQUENCIES)[:, None]
    position = np.arange(_GRID)[None, :]
    rounded = np.rint(1024 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _GRID)))
    # Rounding must not let a frequency see the mean: all rows but the first add up to 0.
    sums = rounded.sum(axis=1, keepdims=True)
    sums[0] = 0
    return _GRID * rounded - sums


_COSINES = _cosines()


def perceptual_hash(image: Image.Image) -> int:
    """The hash of an image.

    Args:
      image: of any size and mode; colour has no say.

    Returns:
      64 bits; bit k is 1 where the k-th of the 8 x 8 lowest frequencies of the discrete
      cosine transform is above their median, the mean taken as 0. So it is 0 for an image
      of one colour.
    """
    grey = image if image.mode == "L" else image.convert("L")
    small = grey.resize(_SIZE, Image.Resampling.BOX, reducing_gap=4)
    pixels = np.frombuffer(small.tobytes(), dtype=np.uint8).reshape(_SIZE).astype(np.float64)
    # All numbers are whole and below 2**53: the result is exact, and so the same whatever
    # the order in which a machine adds them up.
    spectrum = (_COSINES @ pixels @ _COSINES.T).ravel().tolist()
    spectrum[0] = 0.0
    # For 64 numbers, Python's own sort and loop take less time than calls of NumPy.
    ranked = sorted(spectrum)
    middle = _FREQUENCIES**2 // 2
    median = (ranked[middle - 1] + ranked[middle]) / 2
    bits = 0
    for value in spectrum:
        bits = bits << 1 | (value > median)
    return bits


def as_hex(value: int) -> str:
    """The 16 hex digits of a hash."""
    return f"{value:016x}"


def cluster(hashes: np.ndarray) -> np.ndarray:
    """Gives near-duplicates one hash: the smallest of those that are linked to it.

    Two hashes are linked when they differ in `MAX_DISTANCE` bits or fewer, and so are those
    that a chain of links joins. Candidates are found by bands: time and memory grow with the
    number of images and of pairs that agree in a band, not with the square of the images.

    Args:
      hashes: uint64 (n,), in any order.

    Returns:
      uint64 (n,): the hash of each one's cluster.
    """
    distinct, inverse = np.unique(hashes, return_inverse=True)
    roots = np.arange(len(distinct))
    for left, right in _links(distinct):
        _join(roots, left, right)
    # The array of distinct hashes is sorted and the smaller index is the root.
    return distinct[[_root(roots, index) for index in range(len(distinct))]][inverse]


def _links(hashes: np.ndarray) -> Iterator[tuple[int, int]]:
    for shift, width in _BANDS:
        band = (hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        order = np.argsort(band, kind="stable")
        for left, right in _neighbours(band[order]):
            near = np.bitwise_count(hashes[order[left]] ^ hashes[order[right]]) <= MAX_DISTANCE
            yield from zip(order[left[near]].tolist(), order[right[near]].tolist(), strict=True)


def _neighbours(band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of equal values in a sorted array, as pairs of index arrays."""
    left = np.arange(len(band))
    for distance in itertools.count(1):
        left = left[left + distance < len(band)]
        left = left[band[left] == band[left + distance]]
        if not len(left):
            return
        yield left, left + distance


def _root(roots: np.ndarray, index: int) -> int:
    while roots[index] != index:
        roots[index] = roots[roots[index]]
        index = roots[index]
    return index


def _join(roots: np.ndarray, left: int, right: int) -> None:
    low, high = sorted((_root(roots, left), _root(roots, right)))
    roots[high] = low
