"""A 64-bit hash that differs in few bits between near-duplicate images.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010): the signs of an image's lowest frequencies. Re-encoding, resizing and
small changes of brightness or crop change few of its bits; different photographs differ in ten
or more.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

_GRID = 32
_SIZE = (_GRID, _GRID)
_FREQUENCIES = 8
_BITS = _FREQUENCIES**2
_MIDDLE = slice(_BITS // 2 - 1, _BITS // 2 + 1)


def _cosines() -> np.ndarray:
    frequency = np.arange(_FREQUENCIES)[:, None]
    position = np.arange(_GRID)[None, :]
    rounded = np.rint(1024 * np.cos(np.pi * frequency * (2 * position + 1) / (2 * _GRID)))
    # All rows except the first must add up to 0 after rounding, not to depend on the mean.
    sums = rounded.sum(axis=1, keepdims=True)
    sums[0] = 0
    return _GRID * rounded - sums


_COSINES = _cosines()


def perceptual_hash(image: Image.Image) -> int:
    """Returns the hash of an image.

    Args:
      image: an image of any size and mode; colour is ignored.

    Returns:
      64 bits; bit k is 1 if the k-th of the 8 x 8 lowest frequencies of the discrete cosine
      transform is above their median, with 0 for the mean. So it is 0 for an image of one
      colour.
    """
    return hashes([grid(image)])[0]


def grid(image: Image.Image) -> bytes:
    """Returns what the hash is calculated from: luma of 32 x 32 pixels, row by row."""
    grey = image if image.mode == "L" else image.convert("L")
    return grey.resize(_SIZE, Image.Resampling.BOX, reducing_gap=4).tobytes()


def hashes(grids: Sequence[bytes]) -> list[int]:
    """Returns the hash of each grid; of several at a time, in a fraction of the time.

    Args:
      grids: see `grid`.
    """
    pixels = np.frombuffer(b"".join(grids), np.uint8).astype(np.float64)
    # All numbers are integers below 2**53, so the result is exact and does not depend on the
    # order of the additions, which differs between machines.
    rows = (pixels.reshape(-1, _GRID) @ _COSINES.T).reshape(-1, _GRID, _FREQUENCIES)
    spectra = (_COSINES @ rows).reshape(-1, _BITS)
    spectra[:, 0] = 0.0
    medians = np.sort(spectra, axis=1)[:, _MIDDLE].sum(axis=1, keepdims=True) / 2
    return np.packbits(spectra > medians, axis=1).view(">u8").ravel().tolist()


def as_hex(value: int) -> str:
    """Returns the hash as 16 hex digits."""
    return f"{value:016x}"
