"""One image of each kind that is quarantined."""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

BAD_IMAGES = {"undecodable": 1, "not_an_image": 1, "empty": 1, "too_large": 1, "label_conflict": 2}


def add_bad_images(folder: Path) -> list[tuple[str, str, str, str]]:
    """Adds one image of each kind that is quarantined, and the same image in two classes.

    Returns:
      Their rows in the manifest.
    """
    whole = next((folder / "photos" / "cats").iterdir()).read_bytes()
    other = io.BytesIO()
    Image.new("RGB", (48, 48), "red").save(other, "PNG")
    contents = {
        "truncated.jpg": whole[: len(whole) // 2],
        "text.jpg": b"not a photograph",
        "zero.jpg": b"",
        "huge.png": png_header(50_000, 50_000),
        "both as cat.png": other.getvalue(),
        "both as dög.png": other.getvalue(),
    }
    (folder / "bad").mkdir()
    for name, content in contents.items():
        (folder / "bad" / name).write_bytes(content)
    return [
        (f"bad/{name}", "dogs" if "dög" in name else "cats", "tabby", "day") for name in contents
    ]


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends after its header."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    pixels = struct.pack(">I", 1 << 20) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + pixels
