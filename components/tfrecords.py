"""Reads TFRecord files without TensorFlow.

`tf.data` builds a graph for each file, which takes as long as reading a thousand records.
"""

import struct
from collections.abc import Iterator
from typing import IO, Any

import google_crc32c

from components import artifact_files

# Each record has its length, that number's checksum, its bytes, and their checksum.
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size
_MASK = 0xA282EAD8
_BUFFER_BYTES = 1 << 18


def records(path: str) -> Iterator[bytes]:
    """Yields the records of an uncompressed TFRecord file, in order.

    Args:
      path: local or remote.

    Raises:
      DamagedArtifactError: a record does not match its checksum, or is incomplete.
    """
    with _opened(path) as file:
        position = 0
        while header := file.read(_HEADER_BYTES):
            length = _checked(header, _LENGTH.size, path, position)
            (size,) = _LENGTH.unpack(length)
            yield _checked(file.read(size + _CHECKSUM.size), size, path, position)
            position += _HEADER_BYTES + size + _CHECKSUM.size


def _checked(content: bytes, size: int, path: str, position: int) -> bytes:
    """Returns the first bytes, after a check of the checksum that follows them."""
    if len(content) != size + _CHECKSUM.size:
        raise artifact_files.damaged(path, f"truncated record at {position}")
    data = content[:size]
    (expected,) = _CHECKSUM.unpack_from(content, size)
    if _masked(google_crc32c.value(data)) != expected:
        raise artifact_files.damaged(path, f"corrupted record at {position}")
    return data


def _masked(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & 0xFFFFFFFF


def _opened(path: str) -> IO[Any]:
    if "://" not in path:
        return open(path, "rb", buffering=_BUFFER_BYTES)
    from tfx.dsl.io import fileio

    return fileio.open(path, "rb")
