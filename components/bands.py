"""Bands of an image's size, brightness and sharpness, by which metrics are sliced.

Each measure has three bands, divided at the terciles of all accepted images, so that the bands
depend neither on labels nor on how the splits are drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components import names

LABELS: Mapping[names.Band, tuple[str, str, str]] = {
    names.BRIGHTNESS: ("dark", "medium", "bright"),
    names.SHARPNESS: ("blurred", "medium", "sharp"),
    names.IMAGE_SIZE: ("small", "medium", "large"),
}
"""Values of the slice columns, from the lowest to the highest measure."""
_UNITS: Mapping[names.Band, str] = {
    names.BRIGHTNESS: "mean luma from 0 to 255",
    names.SHARPNESS: "variance of the Laplacian",
    names.IMAGE_SIZE: "pixels",
}

# Shown without decimals from here on.
_LARGE = 1_000
_TERCILES = (1 / 3, 2 / 3)


def bounds(values: ArrayLike) -> tuple[float, float] | None:
    """Returns the upper bounds of the lower and of the middle band, which are observed values.

    Args:
      values: (n,), one measure of all images.

    Returns:
      The bounds; None if all images would be in one band.
    """
    measured = np.sort(np.asarray(values, np.float64))
    if not measured.size or measured[0] == measured[-1]:
        return None
    # Else all images would be in the lower band if two thirds have the highest value.
    highest = measured[measured < measured[-1]][-1]
    low, high = np.minimum(np.quantile(measured, _TERCILES, method="inverted_cdf"), highest)
    return float(low), float(high)


def cut(values: ArrayLike, bounds: Sequence[float], band: names.Band) -> NDArray[np.str_]:
    """Returns the band of each image, text (n,).

    Args:
      values: (n,), one measure.
      bounds: the upper bounds of the lower and of the middle band.
      band: name of the measure.
    """
    # In the precision of the stored features, so that a bound belongs to the band below it.
    measured, ends = np.asarray(values, np.float32), np.asarray(bounds, np.float32)
    return np.array(LABELS[band])[np.searchsorted(ends, measured, side="left")]


def described(band: names.Band, bounds: Sequence[float]) -> str:
    """Describes the bands of a measure: `image_size: small up to 16,384 pixels, …`."""
    low, high = (f"{bound:,.4g}" if bound < _LARGE else f"{bound:,.0f}" for bound in bounds)
    first, second, third = LABELS[band]
    return f"{band}: {first} up to {low}, {second} up to {high}, {third} above, in {_UNITS[band]}"
