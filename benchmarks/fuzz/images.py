"""Generated images of every kind that the reader accepts, from which the fuzzer starts."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from components.images import png

_SIZE = (40, 24)


def corpus() -> dict[str, bytes]:
    """Returns small images by name: formats, modes, compressions, orientations, animations."""
    return dict(_all())


def write_corpus(folder: Path) -> None:
    """Writes the images into a folder, in which files added by the fuzzer are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in corpus().items():
        (folder / name).write_bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Returns a PNG with the right checksum after each chunk; any other bytes unchanged."""
    if not data.startswith(png.SIGNATURE):
        return data
    fixed, position = bytearray(data), len(png.SIGNATURE)
    while position + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, position)
        end = position + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[position + 4 : end]))
        position = end + 4
    return bytes(fixed)


def _all() -> Iterator[tuple[str, bytes]]:
    colour = _picture()
    grey, alpha = colour.convert("L"), _with_alpha(colour)
    palette, deep = colour.quantize(16), _sixteen_bits(grey)
    for number, exif in enumerate(_orientations(), start=1):
        yield f"orientation-{number}.jpg", _encoded(colour, "JPEG", exif=exif)
    yield "progressive.jpg", _encoded(colour, "JPEG", progressive=True)
    yield "restart.jpg", _encoded(colour, "JPEG", restart_marker_blocks=1)
    yield "grey.jpg", _encoded(grey, "JPEG")
    yield "cmyk.jpg", _encoded(colour.convert("CMYK"), "JPEG")
    yield "profile.jpg", _encoded(colour, "JPEG", icc_profile=b"profile", comment=b"comment")
    yield "two.mpo", _encoded(colour, "MPO", save_all=True, append_images=[grey.convert("RGB")])
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"{mode}.png", _encoded(alpha.convert(mode), "PNG")
    yield "deep.png", _encoded(deep, "PNG")
    yield "transparent.png", _encoded(palette, "PNG", transparency=3)
    yield "exif.png", _encoded(colour, "PNG", exif=next(_orientations()))
    yield "animated.png", _encoded(colour, "PNG", save_all=True, append_images=[grey])
    yield "still.gif", _encoded(palette, "GIF", transparency=2)
    yield "animated.gif", _encoded(palette, "GIF", save_all=True, append_images=[grey])
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"{mode}.bmp", _encoded(alpha.convert(mode), "BMP")
    yield "lossy.webp", _encoded(alpha, "WEBP")
    yield "lossless.webp", _encoded(alpha, "WEBP", lossless=True)
    yield "animated.webp", _encoded(colour, "WEBP", save_all=True, append_images=[grey])
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{compression}.tiff", _encoded(colour, "TIFF", compression=compression)
    yield "group4.tiff", _encoded(grey.convert("1"), "TIFF", compression="group4")
    for image in (grey, alpha, palette, deep, grey.convert("F"), colour.convert("CMYK")):
        yield f"{image.mode.replace(';', '-')}.tiff", _encoded(image, "TIFF")
    for mode in ("1", "L", "RGB"):
        yield f"{mode}.ppm", _encoded(colour.convert(mode), "PPM")
    yield "plain.pgm", b"P2\n# comment\n3 2\n255\n0 1 2\n253 254 255\n"
    yield "deep.pgm", _encoded(deep, "PPM")
    yield "alpha.avif", _encoded(alpha, "AVIF", speed=10, max_threads=1)
    for mode in ("L", "RGB", "RGBA"):
        yield f"{mode}.jp2", _encoded(alpha.convert(mode), "JPEG2000")
    yield "tiled.j2k", _encoded(colour, "JPEG2000", no_jp2=True, tile_size=(16, 16))
    yield "empty", b""
    yield "text", b"no image"


def _picture() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    return coarse.resize(_SIZE, Image.Resampling.BICUBIC)


def _with_alpha(image: Image.Image) -> Image.Image:
    return Image.merge("RGBA", (*image.split(), Image.linear_gradient("L").resize(image.size)))


def _sixteen_bits(grey: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)


def _orientations() -> Iterator[Image.Exif]:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        yield exif


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
