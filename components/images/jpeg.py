"""Checks the structure of JPEG streams."""

import re
import struct

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
# Huffman-coded: baseline, extended sequential and progressive.
_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2})

# In a scan, 0xFF is followed by 0x00 or starts a restart marker; any other marker ends the scan.
# Any number of 0xFF may precede a marker.
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_MARKER = re.compile(rb"\xff+[^\x00\xff]")


def is_whole(data: bytes) -> bool:
    """Returns whether the bytes are a Huffman-coded JPEG, well-formed from its start to its end.

    Bytes after the end of the image are ignored, and the coded data of the scans is not checked.
    Of these files Pillow and TensorFlow decode the same ones; of others Pillow accepts some
    that TensorFlow does not.
    """
    frames, scans, position, in_scan = 0, 0, 2, False
    while match := (_END_OF_SCAN.search if in_scan else _MARKER.match)(data, position):
        marker = match.group()[-1]
        if marker == _END_OF_IMAGE:
            return scans > 0 and frames == 1
        if match.end() + 2 > len(data):
            return False
        (length,) = struct.unpack_from(">H", data, match.end())
        if length < 2:
            return False
        frames += marker in _START_OF_FRAME
        in_scan = marker == _START_OF_SCAN
        scans += in_scan
        position = match.end() + length
    return False
