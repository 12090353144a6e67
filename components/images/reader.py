"""Reads encoded images by their content: converts them to upright RGB or refuses them.

`read_image` is a pure function of the bytes, used both by ingestion and by prediction, so that
images are read in the same way in training and in serving.
"""

import io
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError

from components.images import jpeg, png
from components.images.perceptual_hash import perceptual_hash
from components.images.pixels import UnknownRangeError, to_rgb
from components.images.rules import DEFAULT_MAX_PIXELS, shrunk_size
from components.images.signature import HEAD_BYTES, begins_like_an_image, unsupported_format

# Reasons for a refusal.
EMPTY = "empty"
NOT_AN_IMAGE = "not_an_image"
UNDECODABLE = "undecodable"
TOO_LARGE = "too_large"
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

# Upper bound of an image file's size: four uncompressed channels of 16 bits, and metadata.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 1 << 20

# Minimum size, in pixels, at which a JPEG's luma is decoded: four times the hash's grid.
_LUMA_SIZE = (128, 128)


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
    """

    data: bytes
    width: int
    height: int
    perceptual_hash: int


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
      max_pixels: width times height above which the image is refused, by its header alone.
        Pillow itself refuses more than 178,956,970.
      max_side: longest side of the result, in pixels; 0 keeps the size.

    Raises:
      RefusedImageError: has the reason `empty`, `not_an_image`, `too_large`, `undecodable`
        or `unknown_range`.
    """
    check_bytes(len(data), max_pixels)
    image = _open(data)
    _check_pixels(image.size, max_pixels)
    try:
        if _is_plain(image, max_side) and _is_whole(image, data):
            width, height = image.size
            return ReadImage(data, width, height, perceptual_hash(_luma(image)))
        return _encoded(_upright_rgb(image, max_side), lossy=image.format in _LOSSY)
    except UnknownRangeError as error:
        raise RefusedImageError(UNKNOWN_RANGE, f"{image.format}: {error}") from error
    except Exception as error:  # Pillow's decoders raise any error for a broken file
        raise RefusedImageError(UNDECODABLE, f"{image.format}: {error}") from error


def _open(data: bytes) -> Image.Image:
    if not data:
        raise RefusedImageError(EMPTY, "0 bytes")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedImageError(TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data[:HEAD_BYTES]) from error
    except Exception as error:  # see read_image
        raise RefusedImageError(UNDECODABLE, str(error)) from error


def _unidentified(head: bytes) -> RefusedImageError:
    formats = f"supported formats are {', '.join(_FORMATS)}. Received: {head!r}"
    if not begins_like_an_image(head):
        return RefusedImageError(NOT_AN_IMAGE, formats)
    name = unsupported_format(head)
    problem = f"{name} is not supported" if name else "its header is damaged or not supported"
    return RefusedImageError(UNDECODABLE, f"{problem}; convert it to JPEG or PNG; {formats}")


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RefusedImageError(
            TOO_LARGE,
            f"at most {max_pixels:,} pixels are allowed. Received: {width} x {height} pixels",
        )


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
    image.draft("L", _LUMA_SIZE)
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


def _encoded(rgb: Image.Image, *, lossy: bool) -> ReadImage:
    rgb.info.clear()  # else Pillow would copy the source's profile and comment
    buffer = io.BytesIO()
    if lossy:
        rgb.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        rgb.save(buffer, "PNG")
    return ReadImage(buffer.getvalue(), *rgb.size, perceptual_hash(rgb))
