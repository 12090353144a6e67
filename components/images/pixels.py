"""Converts pixels of any depth and colour model to 8-bit RGB, or refuses them."""

import numpy as np
from PIL import Image, TiffImagePlugin

from components.images.rules import BACKGROUND

_UNSIGNED = 1
_MIN_IS_WHITE = 0
_SEPARATE_PLANES = 2
_NEW_SUBFILE_TYPE, _IS_REDUCED = 254, 1

# Rows that are composited at a time.
_STRIP = 256

# The range of 12-bit sensors: 16-bit values below it were probably never scaled.
_TWELVE_BITS = 2**12
# Pillow scales a PNG's grey values by these factors, but not the transparent value.
_PNG_GREY_SCALE = {"L;2": 85, "L;4": 17}


class UnknownRangeError(ValueError):
    """Pixels whose file does not define which values are black and white."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image to 8-bit RGB, with transparent parts composited onto the background.

    The highest 8 of 12 or 16 bits are kept. Colour profiles are not applied.

    Raises:
      UnknownRangeError: pixels are floats, 32-bit or signed integers, 16-bit integers of
        which at most 12 bits are used, or CMYK of a JPEG that may be inverted or not.
      ValueError: the image is a preview, colours are CIELAB, or 16 bits are stored in an
        unsupported way.
    """
    _check_range(image)
    raw_mode = _raw_mode(image)
    image.load()
    if raw_mode in _PNG_GREY_SCALE and "transparency" in image.info:
        image.info["transparency"] *= _PNG_GREY_SCALE[raw_mode]
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bit_grey(image)).convert("RGB")
    if ";16" in raw_mode:
        peaks = [np.max(image.getchannel(band).getextrema()) for band in _colours(image)]
        _check_peak(image, int(max(peaks)) << 8)
    return _flattened(image) if image.has_transparency_data else image.convert("RGB")


def has_sixteen_bits(image: Image.Image) -> bool:
    """Returns whether an image that is not decoded yet has more than 8 bits per channel."""
    return ";16" in _raw_mode(image) or image.mode.startswith(("I", "F")) or _tiff_bits(image) > 8


def _colours(image: Image.Image) -> tuple[str, ...]:
    return ("R", "G", "B") if image.mode == "RGBA" else image.getbands()


def _check_range(image: Image.Image) -> None:
    if int(np.max(_tiff_tag(image, _NEW_SUBFILE_TYPE, 0))) & _IS_REDUCED:
        raise ValueError("its first image is a preview, as in a camera's raw file; save it as JPEG")
    if image.mode == "LAB":
        raise ValueError("colours are CIELAB; save it as RGB")
    if image.mode == "F":
        raise UnknownRangeError("pixels are floats; save it with 8 or 16 bits per channel")
    if (image.mode == "I" and image.format != "PPM") or _is_signed(image):
        raise UnknownRangeError(
            "pixels are 32-bit or signed integers; save it with 8 or 16 unsigned bits per channel"
        )
    if image.mode == "CMYK" and image.format in {"JPEG", "MPO"} and "adobe" not in image.info:
        raise UnknownRangeError(
            "a CMYK JPEG without Adobe's marker may be inverted or not; save it as RGB"
        )
    if ";16" in _raw_mode(image) or _tiff_bits(image) > 8:
        _check_sixteen_bits(image)


def _is_signed(image: Image.Image) -> bool:
    formats = _tiff_tag(image, TiffImagePlugin.SAMPLEFORMAT, _UNSIGNED)
    return bool((np.atleast_1d(formats) != _UNSIGNED).any())


def _check_sixteen_bits(image: Image.Image) -> None:
    if image.mode != "I;16" and "transparency" in image.info:
        raise ValueError("a 16-bit colour is transparent; save it with 8 bits per channel")
    planes = _tiff_tag(image, TiffImagePlugin.PLANAR_CONFIGURATION, 1)
    if planes == _SEPARATE_PLANES and len(image.getbands()) > 1:
        raise ValueError(
            "16-bit channels are stored in separate planes; save it with 8 bits per channel"
        )


def _tiff_bits(image: Image.Image) -> int:
    """Returns the largest number of bits of a TIFF's channels; 0 for other formats."""
    bits = _tiff_tag(image, TiffImagePlugin.BITSPERSAMPLE, 0)
    return int(np.max(bits)) if bits else 0


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int | tuple[int, ...]:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return default
    return image.tag_v2.get(tag, default)


def _raw_mode(image: Image.Image) -> str:
    """Returns the decoder's name of the stored pixel format; empty if unknown."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _eight_bit_grey(image: Image.Image) -> np.ndarray:
    """Converts grey pixels of 12 or 16 bits to uint8 (height, width)."""
    values = np.asarray(image).astype(np.int32)
    bits = _tiff_bits(image) or 16
    if bits == 16:
        _check_peak(image, values.max(initial=0))
    grey = values >> (bits - 8)
    if _tiff_tag(image, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1) == _MIN_IS_WHITE:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255  # the background's
    return grey.astype(np.uint8)


def _check_peak(image: Image.Image, peak: int) -> None:
    """Refuses 16-bit pixels that were probably written by a 12-bit camera and never scaled."""
    if 0 < peak < _TWELVE_BITS and image.format in {"TIFF", "PNG"}:
        raise UnknownRangeError(
            "pixels have 16 bits, but may use only 12 or fewer; scale them to 0..65535, or save it "
            f"with 8 bits per channel. Received: a maximum of {peak}"
        )


def _flattened(image: Image.Image) -> Image.Image:
    """Returns an image on the background; in strips, since it takes three copies."""
    width, height = image.size
    flat = Image.new("RGB", image.size)
    for top in range(0, height, _STRIP):
        strip = image.crop((0, top, width, min(top + _STRIP, height))).convert("RGBA")
        background = Image.new("RGBA", strip.size, BACKGROUND)
        flat.paste(Image.alpha_composite(background, strip).convert("RGB"), (0, top))
    return flat
