"""Checks the structure of JPEG streams."""

import re
import struct
from collections.abc import Iterator

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9

SCAN_BYTES = 10
"""The smallest size of a scan: its marker, and a header of one component."""

# Huffman-coded: baseline, extended sequential and progressive.
_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})

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
    markers = list(_markers(data))
    frames = sum(marker in _START_OF_FRAME for marker in markers)
    return _END_OF_IMAGE in markers and _START_OF_SCAN in markers and frames == 1


def scans(data: bytes) -> int:
    """Returns the number of a JPEG's scans; `max_scans` if it is not well-formed."""
    markers = list(_markers(data))
    return markers.count(_START_OF_SCAN) if _END_OF_IMAGE in markers else max_scans(data)


def max_scans(data: bytes) -> int:
    """Returns an upper bound of the number of scans, which also counts those of thumbnails.

    It takes a tenth of the time of decoding; `len(data) // SCAN_BYTES` is a cheaper upper bound.
    """
    return data.count(bytes([0xFF, _START_OF_SCAN]))


def _markers(data: bytes) -> Iterator[int]:
    """Yields the markers up to the end of the image, or up to where it is not well-formed."""
    position, in_scan = 2, False
    while match := (_END_OF_SCAN.search if in_scan else _MARKER.match)(data, position):
        marker = match.group()[-1]
        if marker == _END_OF_IMAGE:
            yield marker
            return
        if match.end() + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, match.end())
        if length < 2:
            return
        yield marker
        in_scan = marker == _START_OF_SCAN
        position = match.end() + length
