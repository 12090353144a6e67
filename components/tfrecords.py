"""Reads and writes uncompressed TFRecord files without TensorFlow.

`tf.data` builds a graph for each file, which takes as long as reading a thousand records. The
format is that of tensorflow/core/lib/io/record_writer.h: of each record its length, a checksum of
the length, its bytes, and a checksum of the bytes.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from types import TracebackType

import google_crc32c

from components import artifact_files, file_io
from components.artifact_files import Described, Shard

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size
_FRAME_BYTES = _HEADER_BYTES + _CHECKSUM.size
_BITS_32 = (1 << 32) - 1
# A checksum is stored rotated by 15 bits, and this number added to it.
_ADDED = 0xA282EAD8
# Written at a time, or a longer record: a call for each record of some kilobytes takes longer.
_WRITTEN_BYTES = 1 << 18


def records(path: str) -> Iterator[bytes]:
    """Yields the records of a file, in order.

    Args:
      path: local or remote.

    Raises:
      DamagedArtifactError: a record does not match its checksum, or is incomplete.
    """
    return _records(path, lambda _: None)


def checked_records(shard: Shard) -> Iterator[bytes]:
    """Yields the records of a file, in order, which is read once, and checks it as a whole.

    Raises:
      DamagedArtifactError: as `records`; or after the last record, if the file has another digest
        or another number of records.
    """
    digest, count = hashlib.sha256(), 0
    # Without a digest to compare, none is calculated.
    for record in _records(shard.path, digest.update if shard.sha256 else lambda _: None):
        count += 1
        yield record
    shard.check_hexdigest(digest.hexdigest())
    shard.check_count(count)


def _records(path: str, on_read: Callable[[bytes], None]) -> Iterator[bytes]:
    with file_io.open_file(path, "rb") as file:
        position = 0
        while header := file.read(_HEADER_BYTES):
            length = _checked(header, _LENGTH.size, path, position)
            (size,) = _LENGTH.unpack(length)
            content = file.read(size + _CHECKSUM.size)
            on_read(header)
            on_read(content)
            yield _checked(content, size, path, position)
            position += _HEADER_BYTES + size + _CHECKSUM.size


def _checked(content: bytes, size: int, path: str, position: int) -> bytes:
    """Returns the first bytes, after a check of the checksum that follows them."""
    if len(content) != size + _CHECKSUM.size:
        raise artifact_files.damaged(path, f"truncated record at {position}")
    data = content[:size]
    if _checksum(data) != content[size:]:
        raise artifact_files.damaged(path, f"corrupted record at {position}")
    return data


class RecordWriter:
    """A TFRecord file that is being written, whose digest is calculated on the way."""

    def __init__(self, path: str):
        """Creates the file.

        Args:
          path: local or remote.
        """
        self._file = file_io.open_file(path, "wb")
        self._digest = hashlib.sha256()
        self._records = self._size = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def write(self, record: bytes) -> None:
        """Appends a record."""
        length = _LENGTH.pack(len(record))
        self._waiting += length, _checksum(length), record, _checksum(record)
        self._waiting_bytes += _FRAME_BYTES + len(record)
        self._records += 1
        if self._waiting_bytes >= _WRITTEN_BYTES:
            self._flush()

    def _flush(self) -> None:
        framed = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._file.write(framed)
        self._digest.update(framed)
        self._size += len(framed)

    def described(self, name: str) -> Described:
        """Returns the entry of the file, as it is now, in a list of files.

        Args:
          name: path of the file relative to its artifact.
        """
        if self._waiting:
            self._flush()
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
        if kind is None:
            try:
                self._flush()
            except BaseException as failed:  # else a file in a bucket would appear, incomplete
                self._file.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._file.__exit__(kind, error, traceback)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + _ADDED) & _BITS_32)
