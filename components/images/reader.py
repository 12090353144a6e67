"""Reads encoded images by their content: each becomes upright RGB, or is refused with a reason.

`read_image` is a pure function of the bytes; ingestion and prediction both go through it, so
that a model meets at serving what it was trained on.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from components.images import jpeg, png
from components.images.perceptual_hash import perceptual_hash

DEFAULT_MAX_PIXELS = 50_000_000

# Reasons for a refusal.
EMPTY = "empty"
NOT_AN_IMAGE = "not_an_image"
UNDECODABLE = "undecodable"
TOO_LARGE = "too_large"

JPEG_QUALITY = 95

# Only formats whose decoders are part of Pillow itself: EPS, for one, would run Ghostscript.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
_LOSSY = frozenset({"JPEG", "MPO", "WEBP", "AVIF", "JPEG2000"})

# How Pillow's decoders name eight bits each of red, green and blue; YCbCr counts as that.
_PLAIN_TILES = {"JPEG": ("RGB", ""), "MPO": ("RGB", ""), "PNG": "RGB"}

_BACKGROUND = "white"

# Least size in pixels at which a JPEG's luma is decoded: four times the hash's grid.
_LUMA_SIZE = (128, 128)


class RefusedImageError(ValueError):
    """An image that isn't taken.

    Attributes:
      reason: one word, such as `undecodable`.
      detail: what was found, for a person.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image that decodes.

    Attributes:
      data: its encoded bytes, JPEG or PNG, RGB, upright; TensorFlow decodes them.
      width: pixels.
      height: pixels.
      perceptual_hash: 64 bits, see `perceptual_hash`.
    """

    data: bytes
    width: int
    height: int
    perceptual_hash: int


def read_image(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = 0
) -> ReadImage:
    """Decodes an image once, in full, to prove that it decodes.

    The format is told by the content: JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF or JPEG 2000.
    A JPEG or PNG that is RGB, upright and small enough keeps its bytes. Any other is turned
    upright by its EXIF orientation, becomes RGB (transparent parts over white, 16 bits cut to
    8, the first frame of an animation), is scaled down to `max_side`, and is encoded anew: as
    JPEG of quality 95 without chroma subsampling where the source was lossy, else as PNG.

    Args:
      data: the encoded image.
      max_pixels: width times height above which it is refused, by its header alone. Pillow
        itself refuses more than 178,956,970.
      max_side: longest side, in pixels, of the result; 0 keeps the size.

    Raises:
      RefusedImageError: with the reason `empty`, `not_an_image`, `too_large` or `undecodable`.
    """
    image = _open(data)
    _check_pixels(image.size, max_pixels)
    try:
        if _is_plain(image, max_side) and _is_whole(image, data):
            width, height = image.size
            return ReadImage(data, width, height, perceptual_hash(_luma(image)))
        return _encoded(_upright_rgb(image, max_side), lossy=image.format in _LOSSY)
    except Exception as error:  # Pillow's decoders raise whatever a broken file trips them into
        raise RefusedImageError(UNDECODABLE, f"{image.format}: {error}") from error


def _open(data: bytes) -> Image.Image:
    if not data:
        raise RefusedImageError(EMPTY, "0 bytes")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise RefusedImageError(TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        start = data[:16]
        reason = UNDECODABLE if _has_signature(start) else NOT_AN_IMAGE
        detail = f"begins {start!r}; read are {', '.join(_FORMATS)}"
        raise RefusedImageError(reason, detail) from error
    except Exception as error:  # see read_image
        raise RefusedImageError(UNDECODABLE, str(error)) from error


def _has_signature(start: bytes) -> bool:
    """Whether bytes begin as an image does, though no image follows."""
    accepts = [Image.OPEN[name][1] for name in _FORMATS if name in Image.OPEN]
    return any(accept and accept(start) for accept in accepts)


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise RefusedImageError(
            TOO_LARGE, f"{width} x {height} pixels, at most {max_pixels:,} are taken"
        )


def _is_plain(image: Image.Image, max_side: int) -> bool:
    """Whether the bytes can stay as they are."""
    tiles = getattr(image, "tile", [])
    return (
        bool(tiles)
        and tiles[0].args == _PLAIN_TILES.get(image.format or "")
        and "transparency" not in image.info
        and (not max_side or max(image.size) <= max_side)
        and _orientation(image) <= 1
    )


def _is_whole(image: Image.Image, data: bytes) -> bool:
    """Whether TensorFlow, with which training decodes, decodes it if Pillow does."""
    return png.is_whole(data) if image.format == "PNG" else jpeg.is_whole(data)


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG":
        image.load()  # its EXIF may follow the pixels; that these are broken must not be missed
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _luma(image: Image.Image) -> Image.Image:
    """The image's luma.

    All coefficients of a JPEG are decoded, so that it fails exactly where decoding to RGB
    does; turning them into pixels can't fail, so it is done for luma alone and, in a large
    image, at a reduced size, which takes less time.
    """
    image.draft("L", _LUMA_SIZE)
    image.load()
    return image


def _upright_rgb(image: Image.Image, max_side: int) -> Image.Image:
    if max_side:
        # A JPEG decodes faster straight to a half, a quarter or an eighth of its size.
        image.draft(None, (3 * max_side, 3 * max_side))
    rgb = _to_rgb(_turned(image))
    if max_side:
        rgb.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return rgb


def _turned(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) > 1 else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floats of no set range; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        sixteen_bits = np.clip(np.asarray(image).astype(np.int64), 0, 2**16 - 1)
        image = Image.fromarray((sixteen_bits >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return _flattened(image.convert("RGBA"))
    return image.convert("RGB")


def _flattened(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, _BACKGROUND)
    return Image.alpha_composite(background, image).convert("RGB")


def _encoded(rgb: Image.Image, *, lossy: bool) -> ReadImage:
    # A new image: Pillow would carry profiles and EXIF of the source over.
    buffer = io.BytesIO()
    bare = Image.fromarray(np.asarray(rgb))
    if lossy:
        bare.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        bare.save(buffer, "PNG")
    return ReadImage(buffer.getvalue(), *rgb.size, perceptual_hash(rgb))
