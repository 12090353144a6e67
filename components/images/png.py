"""Checks the structure of PNG streams."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEADER, _PIXELS, _END = b"IHDR", b"IDAT", b"IEND"
_MAX_INFLATED = 1 << 20


def is_whole(data: bytes) -> bool:
    """Returns whether the bytes are a complete PNG with correct checksums.

    Whether its pixels decode is not checked. Of these files Pillow and TensorFlow decode the
    same ones; of others Pillow accepts some that TensorFlow does not.
    """
    inflater = zlib.decompressobj()
    kinds = []
    for kind, content in _chunks(data):
        kinds.append(kind)
        if kind == _PIXELS and not _inflates(inflater, content):
            return False
    return inflater.eof and kinds[0] == _HEADER and kinds[-1] == _END


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of each chunk, up to the last or to the first wrong checksum."""
    position = len(SIGNATURE) if data.startswith(SIGNATURE) else len(data)
    kind = b""
    while position + 12 <= len(data) and kind != _END:
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        checked = data[position + 4 : end]
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(checked)):
            return
        kind = checked[:4]
        yield kind, checked[4:]
        position = end + 4


def _inflates(inflater: "zlib._Decompress", content: bytes) -> bool:
    try:
        while content and not inflater.eof:
            inflater.decompress(content, _MAX_INFLATED)
            content = inflater.unconsumed_tail
    except zlib.error:
        return False
    return True
