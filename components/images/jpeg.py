"""Checks the structure of JPEG streams."""

import re
import struct
from collections.abc import Iterator, Sequence

_START = b"\xff\xd8\xff"
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9

SCAN_BYTES = 10
"""The smallest size of a scan: its marker, and a header of one component."""

# Huffman-coded: baseline, extended sequential and progressive.
_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})

# What may be in a plain JPEG besides its frame: tables, restart interval, scans, comments...
_PLAIN = frozenset({0xC4, 0xDB, 0xDD, _START_OF_SCAN, 0xFE, _END_OF_IMAGE})
# ... and the segments of applications that begin so and have at least this length.
_PLAIN_SEGMENTS = {0xE0: (b"JFIF\0", 16), 0xE2: (b"ICC_PROFILE\0", 16), 0xEE: (b"Adobe", 14)}
_FRAME = struct.Struct(">HBHHB")
_FRAME_BYTES = 17  # of three components

# In a scan, 0xFF is followed by 0x00 or starts a restart marker; any other marker ends the scan.
# Any number of 0xFF may precede a marker: a pattern that begins with one literal 0xFF is searched
# for several times as fast as one that begins with any number of them.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MARKER = re.compile(rb"\xff+[^\x00\xff]")


def is_whole(data: bytes) -> bool:
    """Returns whether the bytes are a Huffman-coded JPEG, well-formed from its start to its end.

    Bytes after the end of the image are ignored, and the coded data of the scans is not checked.
    Of these files Pillow and TensorFlow decode the same ones; of others Pillow accepts some
    that TensorFlow does not.
    """
    return _are_whole([marker for marker, _ in _segments(data)])


def _are_whole(markers: Sequence[int]) -> bool:
    frames = sum(marker in _START_OF_FRAME for marker in markers)
    return _END_OF_IMAGE in markers and _START_OF_SCAN in markers and frames == 1


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Returns width and height of a plain JPEG; None for any other bytes.

    A plain JPEG is whole (`is_whole`), has three components of 8 bits, and no EXIF, XMP, second
    image or other metadata that may turn it, or that a reader may fail on. Every decoder finds this
    size in it: nothing but whole segments precedes its frame.
    """
    segments = list(_segments(data)) if data.startswith(_START) else []
    if not _are_whole([marker for marker, _ in segments]):
        return None
    size = None
    for marker, start in segments:
        if marker in _START_OF_FRAME:
            length, bits, height, width, components = _FRAME.unpack_from(data, start)
            if (length, bits, components) != (_FRAME_BYTES, 8, 3) or not width or not height:
                return None
            size = width, height
        elif marker not in _PLAIN and not _is_plain_segment(data, marker, start):
            return None
    return size


def _is_plain_segment(data: bytes, marker: int, start: int) -> bool:
    content, length = _PLAIN_SEGMENTS.get(marker, (b"", 0))
    return bool(length) and (
        data.startswith(content, start + 2) and int.from_bytes(data[start : start + 2]) >= length
    )


def scans(data: bytes) -> int:
    """Returns the number of a JPEG's scans; `max_scans` if it is not well-formed."""
    markers = [marker for marker, _ in _segments(data)]
    return markers.count(_START_OF_SCAN) if _END_OF_IMAGE in markers else max_scans(data)


def max_scans(data: bytes) -> int:
    """Returns an upper bound of the number of scans, which also counts those of thumbnails.

    It takes a tenth of the time of decoding; `len(data) // SCAN_BYTES` is a cheaper upper bound.
    """
    return data.count(bytes([0xFF, _START_OF_SCAN]))


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields the markers up to the end of the image, or up to where it is not well-formed.

    Each is followed by its segment, whose start is yielded too: its length, in two bytes.
    """
    position, in_scan = 2, False
    while match := (_END_OF_SCAN.search if in_scan else _MARKER.match)(data, position):
        start = match.end()
        marker = data[start - 1]
        if marker == _END_OF_IMAGE:
            yield marker, start
            return
        if start + 2 > len(data):
            return
        length = data[start] << 8 | data[start + 1]
        if length < 2:
            return
        yield marker, start
        in_scan = marker == _START_OF_SCAN
        position = start + length
