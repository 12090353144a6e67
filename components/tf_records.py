"""Writes uncompressed TFRecord files without TensorFlow.

The format is that of tensorflow/core/lib/io/record_writer.h: of each record its length, a checksum
of the length, its bytes, and a checksum of the bytes.
"""

import hashlib
import struct
from types import TracebackType

import google_crc32c

from components.artifact_files import Described
from components.file_io import open_file

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_BITS_32 = (1 << 32) - 1
# A checksum is stored rotated by 15 bits, and this number added to it.
_ADDED = 0xA282EAD8


class RecordWriter:
    """A TFRecord file that is being written, whose digest is calculated on the way."""

    def __init__(self, path: str):
        """Creates the file.

        Args:
          path: local or remote.
        """
        self._file = open_file(path, "wb")
        self._digest = hashlib.sha256()
        self._records = self._size = 0

    def write(self, record: bytes) -> None:
        """Appends a record."""
        length = _LENGTH.pack(len(record))
        framed = b"".join((length, _checksum(length), record, _checksum(record)))
        self._file.write(framed)
        self._digest.update(framed)
        self._records += 1
        self._size += len(framed)

    def described(self, name: str) -> Described:
        """Returns the entry of the file, as it is now, in a list of files.

        Args:
          name: path of the file relative to its artifact.
        """
        return Described(name, self._records, self._size, self._digest.hexdigest())

    def __enter__(self) -> "RecordWriter":
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + _ADDED) & _BITS_32)
