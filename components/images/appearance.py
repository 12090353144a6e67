"""Brightness and sharpness of an image, by which metrics are sliced.

Both are measured on the luma, scaled to 128 x 128 pixels, so that images of different sizes can be
compared, and about as a model sees them. Sharpness is the variance of the Laplacian: J. L. Pech-
Pacheco, G. Cristóbal, J. Chamorro-Martínez, J. Fernández-Valdivia, Diatom Autofocusing in
Brightfield Microscopy: a Comparative Study, ICPR 2000.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRID = 128
_DECIMALS = 2
_ONES = np.ones(_GRID**2, np.float32)
_PARTS = 2  # of an array: BLAS would start threads for dot products of more than 10,000 numbers


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
    # Scaled up by repeating pixels, a small image would have sharp edges that it doesn't have.
    is_small = min(luma.size) < _GRID
    filtered = Image.Resampling.BILINEAR if is_small else Image.Resampling.BOX
    small = luma.resize((_GRID, _GRID), filtered)
    pixels = np.frombuffer(small.tobytes(), np.uint8)
    return Appearance(
        brightness=round(_sum(pixels) / pixels.size, _DECIMALS),
        sharpness=round(max(0.0, _variance(_laplacian(pixels.astype(np.int16)))), _DECIMALS),
    )


def _sum(pixels: NDArray[np.uint8]) -> int:
    # Exact in any order of the additions, since the result is less than 2**24; a dot product is
    # several times as fast as a sum.
    return int(pixels.astype(np.float32) @ _ONES)


def _laplacian(pixels: NDArray[np.int16]) -> NDArray[np.int16]:
    """Returns the Laplacian of all pixels but those at the edges, (126, 126).

    Args:
      pixels: of the grid, row by row.
    """
    # Neighbours in shifts of the whole array, which is faster than in two dimensions.
    found = pixels[_GRID:-_GRID] << 2
    found -= pixels[: -2 * _GRID]
    found -= pixels[2 * _GRID :]
    found -= pixels[_GRID - 1 : -_GRID - 1]
    found -= pixels[_GRID + 1 : 1 - _GRID]
    return found.reshape(_GRID - 2, _GRID)[:, 1:-1]


def _variance(numbers: NDArray[np.int16]) -> float:
    # All numbers and sums are integers below 2**53, so the result is exact and does not depend on
    # the order of the additions, which differs between machines.
    values = numbers.astype(np.float64).reshape(_PARTS, -1)
    mean = sum(float(part.sum()) for part in values) / values.size
    squares = sum(float(part @ part) for part in values)
    return squares / values.size - mean * mean
