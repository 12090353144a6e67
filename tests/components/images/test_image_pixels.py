"""Pixels of every depth and colour model, against values known by construction."""

import io
import struct

import numpy as np
import pytest
from pictures_on_disk import encoded, picture, png
from PIL import Image

from components.images.reader import RefusedImageError, read_image

LEVELS = np.array([[0, 64, 128, 255], [10, 20, 30, 250]], np.uint8)
DEEP = LEVELS.astype(np.uint16) * 257


def pixels(data: bytes) -> np.ndarray:
    """The stored pixels of an image, uint8 (height, width, 3)."""
    stored = read_image(data).data
    assert stored.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(stored)))


def grey(data: bytes) -> np.ndarray:
    found = pixels(data)
    assert (found == found[..., :1]).all()
    return found[..., 0]


def refusal(data: bytes) -> RefusedImageError:
    with pytest.raises(RefusedImageError) as error:
        read_image(data)
    return error.value


def tiff(rows: bytes, *, order: str = "<", **changes: int | tuple[int, ...]) -> bytes:
    """A TIFF of one strip, by default of 4 x 2 grey pixels of 16 bits; keywords change tags."""
    tags = {256: 4, 257: 2, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: len(rows)}
    tags |= {int(tag[1:]): value for tag, value in changes.items()}
    rows += bytes(len(rows) % 2)
    entries, more = b"", b""
    start = 8 + len(rows) + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        content = struct.pack(f"{order}{len(values)}H", *values)
        if len(content) > 4:
            content, more = struct.pack(f"{order}I", start + len(more)), more + content
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + content.ljust(4, b"\0")
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(rows))
    count = struct.pack(f"{order}H", len(tags))
    return head + rows + count + entries + bytes(4) + more


TWELVE_BITS = bytes.fromhex("000 400 800 fff 0a0 140 1e0 fa0".replace(" ", ""))
RGB16 = np.stack([DEEP, DEEP[::-1], DEEP], axis=-1)

READ = {
    "16-bit TIFF": (tiff(DEEP.tobytes()), LEVELS),
    "16-bit TIFF, big endian": (tiff(DEEP.astype(">u2").tobytes(), order=">"), LEVELS),
    "16-bit TIFF, white is zero": (tiff(DEEP.tobytes(), t262=0), 255 - LEVELS),
    "compressed 16-bit TIFF": (
        encoded(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
        LEVELS,
    ),
    "12-bit TIFF": (tiff(TWELVE_BITS, t258=12), LEVELS),
    "8-bit TIFF, white is zero": (tiff(LEVELS.tobytes(), t258=8, t262=0), 255 - LEVELS),
    "1-bit TIFF": (tiff(b"\x50\xa0", t258=1), np.array([[0, 255, 0, 255], [255, 0, 255, 0]])),
    "1-bit TIFF, white is zero": (
        tiff(b"\x50\xa0", t258=1, t262=0),
        np.array([[255, 0, 255, 0], [0, 255, 0, 255]]),
    ),
    "16-bit PNG": (encoded(Image.fromarray(DEEP), "PNG"), LEVELS),
    "black 16-bit TIFF": (tiff(bytes(16)), np.zeros((2, 4))),
    "PPM of 10 bits": (
        b"P5\n4 1\n1023\n" + struct.pack(">4H", 0, 256, 512, 1023),
        [[0, 64, 128, 255]],
    ),
    "16-bit PNG with a transparent grey": (
        png(16, 0, [struct.pack(">HH", 1000, 50000)], 2, tRNS=struct.pack(">H", 1000)),
        [[255, 195]],
    ),
    "2-bit PNG with a transparent grey": (
        png(2, 0, [b"\x1b"], 4, tRNS=struct.pack(">H", 1)),
        [[0, 255, 170, 255]],
    ),
    "4-bit PNG with a transparent grey": (
        png(4, 0, [b"\x05\xa0"], 3, tRNS=struct.pack(">H", 5)),
        [[0, 255, 170]],
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_grey_of_a_known_range_keeps_its_levels(kind):
    data, expected = READ[kind]
    np.testing.assert_array_equal(grey(data), expected)


COLOURED = {
    "16-bit PNG": png(16, 2, [row.astype(">u2").tobytes() for row in RGB16], 4),
    "16-bit TIFF": tiff(RGB16.tobytes(), t258=(16, 16, 16), t262=2, t277=3),
    "16-bit PNG with alpha": png(
        16,
        6,
        [np.insert(row, 3, 0xFFFF, -1).astype(">u2").tobytes() for row in RGB16],
        4,
    ),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_16_bit_colours_keep_their_highest_8_bits(kind):
    np.testing.assert_array_equal(pixels(COLOURED[kind]), RGB16 >> 8)


def test_a_palette_entry_may_be_half_transparent():
    data = png(8, 3, [b"\0\1"], 2, PLTE=b"\0\0\0\xff\0\0", tRNS=b"\x80\xff")
    np.testing.assert_array_equal(pixels(data), [[[127, 127, 127], [255, 0, 0]]])


DIM = DEEP >> 5
RANGES = {
    "int32 TIFF": encoded(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"),
    "uint32 TIFF": tiff(LEVELS.astype("<u4").tobytes(), t258=32),
    "int16 TIFF": tiff(DEEP.tobytes(), t339=2),
    "int8 TIFF": tiff(LEVELS.tobytes(), t258=8, t339=2),
    "float TIFF": encoded(Image.fromarray(LEVELS.astype(np.float32)), "TIFF"),
    "12 bits in a 16-bit TIFF": tiff(DIM.tobytes()),
    "12 bits in a 16-bit PNG": encoded(Image.fromarray(DIM), "PNG"),
    "12 bits in a 16-bit colour TIFF": tiff(
        (RGB16 >> 5).tobytes(), t258=(16, 16, 16), t262=2, t277=3
    ),
    "12 bits in a 16-bit PNG of grey and alpha": png(
        16, 4, [np.stack([row, row * 0 - 1], -1).astype(">u2").tobytes() for row in DIM], 4
    ),
    "12 bits in a 16-bit CMYK TIFF": tiff(
        np.tile((DEEP >> 5)[..., None], 4).tobytes(), t258=(16,) * 4, t262=5, t277=4
    ),
}


@pytest.mark.parametrize("kind", RANGES)
def test_pixels_of_an_unknown_range_are_refused_and_never_guessed(kind):
    error = refusal(RANGES[kind])
    assert error.reason == "unknown_range"
    assert "save it with" in error.detail


def without_adobe_marker(data: bytes) -> bytes:
    start = data.index(b"\xff\xeeXX"[:2])
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]


def test_a_cmyk_jpeg_is_inverted_with_adobes_marker_and_refused_without_it():
    data = encoded(picture(1).convert("CMYK"), quality=95)
    stored = Image.open(io.BytesIO(read_image(data).data))
    difference = np.abs(np.asarray(stored, int) - np.asarray(picture(1), int)).mean()
    assert difference < 8
    assert refusal(without_adobe_marker(data)).reason == "unknown_range"


UNREAD = {
    "preview of a camera's raw file": tiff(LEVELS.tobytes(), t254=1, t258=8),
    "CIELAB TIFF": tiff(bytes(24), t258=(8, 8, 8), t262=8, t277=3),
    "16-bit channels in separate planes": tiff(
        np.moveaxis(RGB16, -1, 0).tobytes(), t258=(16, 16, 16), t262=2, t277=3, t284=2
    ),
    "a transparent 16-bit colour": png(
        16, 2, [struct.pack(">6H", *range(0, 60000, 10000))], 2, tRNS=struct.pack(">3H", 1, 2, 3)
    ),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_pixels_stored_in_an_unsupported_way_are_refused_with_what_to_do(kind):
    error = refusal(UNREAD[kind])
    assert (error.reason, "save it" in error.detail) == ("undecodable", True)
