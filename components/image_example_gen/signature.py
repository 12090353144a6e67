"""Tells from its first bytes whether a file is meant as an image, of whatever format.

Imports the standard library only. Wider than what can be read: a file that is an image, but of a
format that can't be read, is to be refused with a reason.
"""

import re

HEAD_BYTES = 16
"""How many bytes of a file `begins_like_an_image` looks at."""

_SIGNATURE = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n|\x8aMNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|BM.{4}\0\0\0\0"  # BMP: its size, and four bytes that are reserved
    rb"|RIFF.{4}WEBP"
    rb"|II[*+]\0|MM\0[*+]|IIRO|IIU\0"  # TIFF, BigTIFF, raw images of cameras
    rb"|P[1-7]\s"  # PPM and its like
    rb"|.{4}ftyp(avif|avis|hei[cfmsx]|hev[cmsx]|mif1|msf1|crx )"  # AVIF, HEIC, HEIF, CR3
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51"  # JPEG 2000
    rb"|\xff\x0a|\0\0\0\x0cJXL "  # JPEG XL
    rb"|8BPS|\0\0\x01\0|FUJIFILM|DDS |#\?RADIANCE|qoif",
    re.DOTALL,
)


def begins_like_an_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes is meant as an image.

    Args:
      head: the first `HEAD_BYTES` bytes, or all where there are fewer.
    """
    return bool(_SIGNATURE.match(head))
