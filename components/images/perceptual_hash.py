"""A 64-bit hash that differs in few bits between near-duplicate images.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010): the signs of an image's lowest frequencies. Re-encoding, resizing and
small changes of brightness or crop change few of its bits; different photographs differ in ten
or more.
"""

import numpy as np
from PIL import Image

_GRID = 32
_SIZE = (_GRID, _GRID)
_FREQUENCIES = 8
_MIDDLE = (_FREQUENCIES**2 // 2 - 1, _FREQUENCIES**2 // 2)


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
    grey = image if image.mode == "L" else image.convert("L")
    small = grey.resize(_SIZE, Image.Resampling.BOX, reducing_gap=4)
    pixels = np.frombuffer(small.tobytes(), dtype=np.uint8).reshape(_SIZE).astype(np.float64)
    # All numbers are integers below 2**53, so the result is exact and does not depend on the
    # order of the additions, which differs between machines.
    spectrum = (_COSINES @ pixels @ _COSINES.T).ravel()
    spectrum[0] = 0.0
    below, above = np.partition(spectrum, _MIDDLE)[[*_MIDDLE]]
    return int.from_bytes(np.packbits(spectrum > (below + above) / 2).tobytes())


def as_hex(value: int) -> str:
    """Returns the hash as 16 hex digits."""
    return f"{value:016x}"
