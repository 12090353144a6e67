"""Brightness and sharpness of an image, by which metrics are sliced.

Both are measured on the luma, scaled to 128 x 128 pixels, so that images of different sizes can be
compared, and about as a model sees them. Sharpness is the variance of the Laplacian: J. L. Pech-
Pacheco, G. Cristóbal, J. Chamorro-Martínez, J. Fernández-Valdivia, Diatom Autofocusing in
Brightfield Microscopy: a Comparative Study, ICPR 2000.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

_GRID = 128
_DECIMALS = 2


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
    pixels = np.frombuffer(small.tobytes(), np.uint8).reshape(_GRID, _GRID).astype(np.int16)
    laplacian = 4 * pixels[1:-1, 1:-1]
    for neighbours in (pixels[:-2, 1:-1], pixels[2:, 1:-1], pixels[1:-1, :-2], pixels[1:-1, 2:]):
        laplacian -= neighbours
    # All sums are integers below 2**53: exact, whatever the order of the additions. Not a dot
    # product: with this many values it starts the threads of the linear algebra library.
    values = laplacian.astype(np.float64)
    mean = values.sum() / values.size
    values *= values
    variance = values.sum() / values.size - mean * mean
    return Appearance(
        brightness=round(float(pixels.sum()) / pixels.size, _DECIMALS),
        sharpness=round(max(0.0, float(variance)), _DECIMALS),
    )
