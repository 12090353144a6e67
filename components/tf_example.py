"""Serializes tf.train.Examples without TensorFlow.

The messages are those of tensorflow/core/example/{example,feature}.proto, in Protocol Buffers' wire
format. The features, which are a map, are in the order of protobuf's deterministic serialization:
sorted by their names, of which one follows those that continue it.
"""

import functools
import struct
from collections.abc import Mapping

Value = bytes | str | int | float

# Field number << 3 | 2, the wire type of everything here: bytes that are preceded by their number.
_FIRST, _SECOND, _THIRD = b"\x0a", b"\x12", b"\x1a"
# Fields of Feature, which has one of them: its values.
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = _FIRST, _SECOND, _THIRD

_FLOAT = struct.Struct("<f")
_UNSIGNED = (1 << 64) - 1
_ONE_BYTE = [bytes([number]) for number in range(128)]


def serialized(features: Mapping[str, Value]) -> bytes:
    """Returns a tf.train.Example with one value per feature, serialized.

    Args:
      features: at least one, by name; bytes and text become a bytes_list, whole numbers an
        int64_list, and other numbers a float_list.
    """
    parts: list[bytes] = []
    for name in sorted(features, key=_key):
        kind, content = _content(features[name])
        parts += _before(name, kind, len(content)), content
    return b"".join((_FIRST, _varint(sum(map(len, parts))), *parts))


@functools.lru_cache(1024)
def _key(name: str) -> bytes:
    return name.encode() + b"\xff"  # higher than any byte of UTF-8


def _content(value: Value) -> tuple[bytes, bytes]:
    """Returns the kind of a value, and the value as it is stored."""
    if isinstance(value, str):
        return _BYTES_LIST, value.encode()
    if isinstance(value, bytes):
        return _BYTES_LIST, value
    if isinstance(value, int):
        return _INT64_LIST, _varint(value & _UNSIGNED)
    return _FLOAT_LIST, _FLOAT.pack(value)


@functools.lru_cache(4096)  # nearly all features of an image have values of the same few sizes
def _before(name: str, kind: bytes, size: int) -> bytes:
    """Returns what precedes a feature's content: tags and sizes, and its name."""
    values = _FIRST + _varint(size)
    values = kind + _varint(len(values) + size) + values
    feature = _SECOND + _varint(len(values) + size) + values
    encoded = name.encode()
    entry = _FIRST + _varint(len(encoded)) + encoded + feature
    return _FIRST + _varint(len(entry) + size) + entry


def _varint(number: int) -> bytes:
    """Returns a number as a varint: seven bits per byte, the lowest first."""
    if number < len(_ONE_BYTE):
        return _ONE_BYTE[number]
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
