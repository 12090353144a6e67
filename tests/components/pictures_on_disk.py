"""Pictures, and files and folders of them."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PHOTOGRAPHS = SHARED / "data" / "cats_vs_dogs"


def picture(seed: int, *, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An RGB picture of soft blotches, another for each seed, with some grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int64)
    grain = rng.integers(-8, 9, pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(depth: int, colour: int, rows: list[bytes], width: int, **chunks: bytes) -> bytes:
    """A PNG of the rows' packed samples."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    named = {"IHDR": header, **chunks, "IDAT": packed, "IEND": b""}
    body = b"".join(_chunk(kind.encode(), content) for kind, content in named.items())
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_pictures(folder: Path, count: int, *, first_seed: int) -> None:
    for number in range(count):
        seed = first_seed + number
        write(folder / f"{number:04d}.jpg", encoded(picture(seed), quality=90))


def read_lines(path: Path) -> list[dict[str, str]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
