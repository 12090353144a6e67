"""A 64-bit hash in which near-duplicate images differ little.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010): the signs of an image's lowest frequencies. Re-encoding, resizing and
small changes of brightness or crop flip few of its bits; other photographs differ in ten
and more.
"""

import numpy as np
from PIL import Image

_GRID = 32
_SIZE = (_GRID, _GRID)
_FREQUENCIES = 8


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
      image: of any size and mode; colour is ignored.

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
