"""How a JPEG stream is built, as far as it matters to who decodes it."""

import re
import struct

_START_OF_SCAN = 0xFFDA
_HUFFMAN_SEQUENTIAL = (0xFFC0, 0xFFC1)
_END_OF_IMAGE = b"\xff\xd9"

# In a scan, 0xFF is stuffed with 0x00 or begins a restart marker; all else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def is_one_scan(data: bytes) -> bool:
    """Whether the bytes are a Huffman-coded sequential JPEG: one scan, then the end of the image.

    Nearly all photographs are. Progressive and arithmetic-coded ones are not, nor are those
    with anything else between the scan and the end, and nothing but a JPEG is.
    """
    sequential = False
    position = 2
    try:
        marker = 0
        while marker != _START_OF_SCAN:
            marker, length = struct.unpack_from(">HH", data, position)
            sequential = sequential or marker in _HUFFMAN_SEQUENTIAL
            if marker < 0xFF00 or length < 2:
                return False
            position += 2 + length
    except struct.error:
        return False
    end = _END_OF_SCAN.search(data, position)
    return sequential and end is not None and end.group() == _END_OF_IMAGE
