"""Recognizes images by their first bytes, including formats that the reader does not support.

Imports the standard library only. A file that is an image of an unsupported format is refused
with a reason that names the format where it is known.
"""

import re

HEAD_BYTES = 16
"""Number of bytes at the start of a file that the functions here examine."""

_SUPPORTED = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|BM.{4}\0\0\0\0"  # BMP: its size, and four reserved bytes
    rb"|RIFF.{4}WEBP"
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, BigTIFF, and raw files of cameras that are TIFFs
    rb"|P[1-6]\s"  # PPM, PGM, PBM
    rb"|.{4}ftypavi[fs]"  # AVIF
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51",  # JPEG 2000
    re.DOTALL,
)
_UNSUPPORTED = {
    "HEIC": rb".{4}ftyp(hei[cmsx]|hev[cmsx])",
    "HEIF": rb".{4}ftyp(heif|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "camera raw": rb"IIRO|IIU\0|FUJIFILM|.{4}ftypcrx ",
    "PSD": rb"8BPS",
    "ICO": rb"\0\0\x01\0",
    "MNG": rb"\x8aMNG\r\n\x1a\n",
    "PAM": rb"P7\s",
    "DDS": rb"DDS ",
    "Radiance HDR": rb"#\?RADIANCE",
    "QOI": rb"qoif",
}


def begins_like_an_image(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is meant as an image.

    Args:
      head: the first `HEAD_BYTES` bytes, or all if there are fewer.
    """
    return bool(_SUPPORTED.match(head)) or bool(unsupported_format(head))


def unsupported_format(head: bytes) -> str:
    """Returns the name of the unsupported image format, such as `HEIC`; empty for any other file.

    Args:
      head: the first `HEAD_BYTES` bytes, or all if there are fewer.
    """
    matches = (name for name, start in _UNSUPPORTED.items() if re.match(start, head, re.DOTALL))
    return next(matches, "")
