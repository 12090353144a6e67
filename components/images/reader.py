"""Reads encoded images by their content: converts them to upright RGB or refuses them.

`read_images` is a pure function of the bytes, used both by ingestion and by prediction, so that
images are read in the same way in training and in serving.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from components.images import appearance, jpeg, perceptual_hash, png
from components.images.pixels import UnknownRangeError, has_sixteen_bits, to_rgb
from components.images.rules import DEFAULT_MAX_PIXELS, MAX_SCANS, shrunk_size
from components.images.signature import HEAD_BYTES, begins_like_an_image, unsupported_format

# Reasons for a refusal.
EMPTY = "empty"
NOT_AN_IMAGE = "not_an_image"
UNDECODABLE = "undecodable"
TOO_LARGE = "too_large"
TOO_SLOW = "too_slow"
UNKNOWN_RANGE = "unknown_range"

JPEG_QUALITY = 95

# Only formats whose decoders are part of Pillow: EPS, for example, would run Ghostscript.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"})

# Pillow's names of 8-bit RGB, including YCbCr, by format.
_PLAIN_TILES = {"JPEG": ("RGB", ""), "MPO": ("RGB", ""), "PNG": "RGB"}

# The operation that turns an image upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# A JPEG is decoded at a half, a quarter or an eighth of its size, which is faster, as long as both
# sides are at least this many times max_side, so that the filter still scales down.
JPEG_REDUCTION_MARGIN = 3

# Decoding these takes about 20 bytes of memory per pixel, that of others 12 or fewer.
_COSTLY = frozenset({"WEBP", "AVIF", "JPEG2000"})

# Decoders' messages may end in what they found in the file.
_QUOTED = re.compile(r"""[\s(:]*(?:b['"].*|:.*)""", re.DOTALL)

# Upper bound of an image file's size: four uncompressed channels of 16 bits, and metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 1 << 20

# Minimum side, in pixels, of the luma that is decoded of a JPEG: four times the hash's grid.
_LUMA_SIDE = 128

# Pillow warns of larger images, and their headers take a small part of the time.
_MAX_PLAIN_PIXELS = 1 << 24


class RefusedImageError(ValueError):
    """An image that is refused.

    Attributes:
      reason: one word, such as `undecodable`.
      detail: a description of what was found.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that decodes.

    Attributes:
      data: its encoded bytes, JPEG or PNG, RGB, upright; TensorFlow can decode them.
      width: pixels.
      height: pixels.
      perceptual_hash: 64 bits, see `perceptual_hash`.
      source_pixels: width times height of the source, before it is scaled down.
      brightness: see `appearance`.
      sharpness: see `appearance`.
    """

    data: bytes
    width: int
    height: int
    perceptual_hash: int
    source_pixels: int
    brightness: float
    sharpness: float


def check_bytes(count: int, max_pixels: int) -> None:
    """Refuses a file by its size alone, so that it need not be read.

    Args:
      count: size of the file in bytes.
      max_pixels: see `read_image`.

    Raises:
      RefusedImageError: has the reason `too_large`.
    """
    if count > max_pixels * _BYTES_PER_PIXEL + _METADATA_BYTES:
        raise RefusedImageError(
            TOO_LARGE, f"more bytes than {max_pixels:,} pixels can need. Received: {count:,} bytes"
        )


class _Decoded(NamedTuple):
    """An image that is decoded, not measured yet; of its pixels, only what is measured is kept.

    Attributes:
      data: see `ReadImage`.
      size: its width and height.
      source_size: width and height of the source, before it is scaled down.
      hashed: see `perceptual_hash.grid`.
      measured: see `appearance.grid`.
    """

    data: bytes
    size: tuple[int, int]
    source_size: tuple[int, int]
    hashed: bytes
    measured: Image.Image


def read_image(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = 0
) -> ReadImage:
    """Decodes an image completely, to prove that it decodes, and converts it if necessary.

    The format is detected by the content: JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF or JPEG 2000.
    A JPEG or PNG that is RGB, upright and small enough keeps its bytes. Any other is converted to
    RGB (see `pixels.to_rgb`; of an animation the first frame), scaled down to `max_side` by an
    antialiasing filter, turned upright by its EXIF orientation, and encoded again: as JPEG of
    quality 95 without chroma subsampling if the source is lossy, else as PNG.

    Args:
      data: the encoded image.
      max_pixels: width times height above which the image is refused, by its header alone; half
        of it for WebP, AVIF, JPEG 2000 and 16 bits per channel, which take twice the memory. A
        JPEG is also refused if its scans together have more than 16 times as many pixels. Pillow
        itself refuses more than 178,956,970.
      max_side: longest side of the result, in pixels; 0 keeps the size.

    Raises:
      RefusedImageError: has the reason `empty`, `not_an_image`, `too_large`, `too_slow`,
        `undecodable` or `unknown_range`.
    """
    return _measured([_decoded(data, max_pixels, max_side)])[0]


def read_images(
    images: Sequence[bytes], *, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = 0
) -> list[ReadImage | RefusedImageError]:
    """Returns what `read_image` returns or raises for each image.

    Takes less time than one by one if they are small, as measuring them does.

    Args:
      images: the encoded images, ten or so.
      max_pixels: see `read_image`, as `max_side`.
    """
    found = [_decoded_or_error(data, max_pixels, max_side) for data in images]
    measured = iter(_measured([each for each in found if isinstance(each, _Decoded)]))
    return [next(measured) if isinstance(each, _Decoded) else each for each in found]


def _measured(images: Sequence[_Decoded]) -> list[ReadImage]:
    hashes = perceptual_hash.hashes([image.hashed for image in images])
    appearances = appearance.appearances([image.measured for image in images])
    return [
        ReadImage(image.data, *image.size, hashed, math.prod(image.source_size), *appeared)
        for image, hashed, appeared in zip(images, hashes, appearances, strict=True)
    ]


def _decoded_or_error(data: bytes, max_pixels: int, max_side: int) -> _Decoded | RefusedImageError:
    try:
        return _decoded(data, max_pixels, max_side)
    except RefusedImageError as error:
        return error


def _decoded(data: bytes, max_pixels: int, max_side: int) -> _Decoded:
    check_bytes(len(data), max_pixels)
    if plain := _plain_jpeg(data, max_pixels, max_side):
        return plain
    image = _open(data)
    _check_pixels(image, max_pixels)
    if image.format in _PLAIN_TILES and image.format != "PNG":
        _check_scans(data, image.size, max_pixels)
    source_size = image.size  # decoding at a reduced size changes it
    try:
        if _is_plain(image, max_side) and _is_whole(image, data):
            return _as_decoded(data, source_size, source_size, _luma(image))
        return _encoded(image, max_side)
    except MemoryError:
        detail = "decoding it takes too much memory; make it smaller"
        raise RefusedImageError(TOO_LARGE, f"{image.format}: {detail}") from None
    except UnknownRangeError as error:
        raise RefusedImageError(UNKNOWN_RANGE, f"{image.format}: {error}") from error
    except Exception as error:  # Pillow's decoders raise any error for a broken file
        raise RefusedImageError(UNDECODABLE, f"{image.format}: {_unquoted(error)}") from error


def _plain_jpeg(data: bytes, max_pixels: int, max_side: int) -> _Decoded | None:
    """Returns what `_decoded` returns, in less time; None for an image that is not plain.

    Nearly all photographs of a prepared data set are plain JPEGs. `Image.open` reads their headers
    again, for all that an application may want to know.
    """
    size = jpeg.plain_size(data)
    if size is None or (max_side and max(size) > max_side):
        return None
    pixels = math.prod(size)
    if pixels > min(max_pixels, _MAX_PLAIN_PIXELS):
        return None
    if _may_have_more_scans(data, _allowed_scans(pixels, max_pixels)):
        return None
    # As Pillow's draft mode does, which `_luma` uses.
    scale = next(each for each in (8, 4, 2, 1) if each == 1 or min(size) >= each * _LUMA_SIDE)
    reduced = (-(-size[0] // scale), -(-size[1] // scale))
    try:
        luma = Image.new("L", reduced, None)
        luma.frombytes(data, "jpeg", "L", "", scale, 0)
    except Exception:  # the other way finds out why, and says so
        return None
    return _as_decoded(data, size, size, luma)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise RefusedImageError(EMPTY, "0 bytes")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedImageError(TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:  # see read_image
        raise RefusedImageError(UNDECODABLE, _unquoted(error)) from error


def _unquoted(error: Exception) -> str:
    """Returns a decoder's message without what it quotes: the file may not be an image at all."""
    return _QUOTED.sub("", str(error)) or type(error).__name__


def _unidentified(data: bytes) -> RefusedImageError:
    head = data[:HEAD_BYTES]
    formats = f"supported formats are {', '.join(_FORMATS)}. Received: {len(data):,} bytes"
    if not begins_like_an_image(head):
        return RefusedImageError(NOT_AN_IMAGE, formats)
    name = unsupported_format(head)
    problem = f"{name} is not supported" if name else "its header is damaged or not supported"
    return RefusedImageError(UNDECODABLE, f"{problem}; convert it to JPEG or PNG; {formats}")


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    is_costly = image.format in _COSTLY or has_sixteen_bits(image)
    allowed = max_pixels // 2 if is_costly else max_pixels
    if width * height > allowed:
        of = " of WebP, AVIF, JPEG 2000 or 16 bits" if is_costly else ""
        raise RefusedImageError(
            TOO_LARGE,
            f"at most {allowed:,} pixels{of} are allowed. Received: {width} x {height} pixels",
        )


def _check_scans(data: bytes, size: tuple[int, int], max_pixels: int) -> None:
    """Refuses a JPEG that a decoder passes over so often that it takes minutes."""
    width, height = size
    allowed = _allowed_scans(width * height, max_pixels)
    if _may_have_more_scans(data, allowed) and (scans := jpeg.scans(data)) > allowed:
        raise RefusedImageError(
            TOO_SLOW,
            f"at most {allowed:,} scans of {width} x {height} pixels are allowed; save it as a "
            f"baseline JPEG. Received: {scans:,} scans",
        )


def _allowed_scans(pixels: int, max_pixels: int) -> int:
    return MAX_SCANS * max_pixels // pixels


def _may_have_more_scans(data: bytes, allowed: int) -> bool:
    return len(data) // jpeg.SCAN_BYTES > allowed and jpeg.max_scans(data) > allowed


def _is_plain(image: Image.Image, max_side: int) -> bool:
    """Returns whether the bytes can be stored unchanged."""
    tiles = getattr(image, "tile", [])
    return (
        bool(tiles)
        and tiles[0].args == _PLAIN_TILES.get(image.format or "")
        and "transparency" not in image.info
        and (not max_side or max(image.size) <= max_side)
        and _orientation(image) <= 1
    )


def _is_whole(image: Image.Image, data: bytes) -> bool:
    """Returns whether TensorFlow, which training uses, decodes the image if Pillow does."""
    return png.is_whole(data) if image.format == "PNG" else jpeg.is_whole(data)


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG":
        image.load()  # EXIF may follow the pixels; raises an error if they are broken
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block does not affect the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _luma(image: Image.Image) -> Image.Image:
    """Returns the image's luma.

    All coefficients of a JPEG are decoded, so that it fails if and only if decoding to RGB does;
    their conversion to pixels can't fail, so it is done only for luma and, for a large image, at
    a reduced size, which is faster.
    """
    image.draft("L", (_LUMA_SIDE, _LUMA_SIDE))
    image.load()
    return image


def _upright_rgb(image: Image.Image, max_side: int) -> Image.Image:
    size = shrunk_size(*image.size, max_side)
    if size != image.size:
        side = JPEG_REDUCTION_MARGIN * max_side
        image.draft(None, (side, side))
    rgb = to_rgb(image)
    if size != rgb.size:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS)
    turn = _TURNS.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _encoded(image: Image.Image, max_side: int) -> _Decoded:
    source_size = image.size
    rgb = _upright_rgb(image, max_side)
    rgb.info.clear()  # else Pillow would copy the source's profile and comment
    buffer = io.BytesIO()
    if image.format in _LOSSY:
        rgb.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        rgb.save(buffer, "PNG")
    return _as_decoded(buffer.getvalue(), rgb.size, source_size, rgb)


def _as_decoded(
    data: bytes, size: tuple[int, int], source_size: tuple[int, int], pixels: Image.Image
) -> _Decoded:
    """Takes from the pixels, which may be luma only and of a reduced size, what is measured."""
    luma = pixels if pixels.mode == "L" else pixels.convert("L")
    return _Decoded(data, size, source_size, perceptual_hash.grid(luma), appearance.grid(luma))
