"""Brightness and sharpness of an image, by which metrics are sliced.

Both are measured on the luma, scaled to 128 x 128 pixels, so that images of different sizes can be
compared, and about as a model sees them. Sharpness is the variance of the Laplacian: J. L. Pech-
Pacheco, G. Cristóbal, J. Chamorro-Martínez, J. Fernández-Valdivia, Diatom Autofocusing in
Brightfield Microscopy: a Comparative Study, ICPR 2000.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRID = 128
_PIXELS = _GRID**2
_INNER = (_GRID - 2) ** 2
_DECIMALS = 2
# Images that are measured at a time: their pixels fit into one buffer of `Image.tobytes`.
_AT_ONCE = 4


class _Scratch(threading.local):
    """Arrays that a thread uses again and again.

    For a new array of more than 128 KiB the system's allocator may take new pages from the kernel
    each time, which takes longer than the arithmetic.
    """

    def __init__(self) -> None:
        self.pixels = np.empty((_AT_ONCE, _PIXELS), np.int16)
        self.laplacian = np.empty((_AT_ONCE, _PIXELS - 2 * _GRID), np.int16)
        self.inner = np.empty((_AT_ONCE, _GRID - 2, _GRID - 2), np.int32)


_scratch = _Scratch()


class Appearance(NamedTuple):
    """Brightness and sharpness of an image.

    Attributes:
      brightness: mean luma, from 0 (black) to 255 (white).
      sharpness: variance of the luma's Laplacian; 0 for an image of one colour, about 70 to
        10,000 for photographs.
    """

    brightness: float
    sharpness: float


def appearance(luma: Image.Image) -> Appearance:
    """Measures an image.

    Args:
      luma: an image of mode L and any size.
    """
    return appearances([grid(luma)])[0]


def grid(luma: Image.Image) -> Image.Image:
    """Returns what is measured: luma of 128 x 128 pixels.

    Args:
      luma: an image of mode L and any size.
    """
    # Scaled up by repeating pixels, a small image would have sharp edges that it doesn't have.
    is_small = min(luma.size) < _GRID
    filtered = Image.Resampling.BILINEAR if is_small else Image.Resampling.BOX
    return luma.resize((_GRID, _GRID), filtered)


def appearances(grids: Sequence[Image.Image]) -> list[Appearance]:
    """Measures several images, which takes less time than one by one.

    Args:
      grids: see `grid`.
    """
    return [
        measured
        for start in range(0, len(grids), _AT_ONCE)
        for measured in _appearances(grids[start : start + _AT_ONCE])
    ]


def _appearances(grids: Sequence[Image.Image]) -> list[Appearance]:
    pixels = _pixels(grids)
    # Integers: the sums are exact and don't depend on the order of the additions, which differs
    # between machines. No dot products, for which BLAS would start threads.
    brightness = pixels.sum(axis=1, dtype=np.uint32) / _PIXELS
    laplacian = _laplacian(pixels)
    sums = np.einsum("ijk->i", laplacian)
    squares = np.einsum("ijk,ijk->ij", laplacian, laplacian).sum(axis=1, dtype=np.int64)
    sharpness = squares / _INNER - (sums / _INNER) ** 2
    return [
        Appearance(round(mean, _DECIMALS), round(max(0.0, variance), _DECIMALS))
        for mean, variance in zip(brightness.tolist(), sharpness.tolist(), strict=True)
    ]


def _pixels(grids: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Returns the pixels of the grids, (n, 128 * 128)."""
    # Of all together: one call of `tobytes` for each takes longer than its arithmetic.
    column = Image.new("L", (_GRID, _GRID * len(grids)), None)
    for place, each in enumerate(grids):
        column.paste(each, (0, place * _GRID))
    return np.frombuffer(column.tobytes(), np.uint8).reshape(-1, _PIXELS)


def _laplacian(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Returns the Laplacian of all pixels but those at the edges, (n, 126, 126).

    It is valid until the next call in this thread.

    Args:
      pixels: of the grids, (n, 128 * 128).
    """
    count = len(pixels)
    wide, found = _scratch.pixels[:count], _scratch.laplacian[:count]
    inner = _scratch.inner[:count]
    wide[:] = pixels
    # Neighbours in shifts of the whole array, which is faster than in two dimensions.
    np.left_shift(wide[:, _GRID:-_GRID], 2, out=found)
    found -= wide[:, : -2 * _GRID]
    found -= wide[:, 2 * _GRID :]
    found -= wide[:, _GRID - 1 : -_GRID - 1]
    found -= wide[:, _GRID + 1 : 1 - _GRID]
    inner[:] = found.reshape(-1, _GRID - 2, _GRID)[:, :, 1:-1]
    return inner
