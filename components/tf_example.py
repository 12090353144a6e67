"""Serializes tf.train.Examples without TensorFlow.

The messages are those of tensorflow/core/example/{example,feature}.proto, in Protocol Buffers' wire
format. The features, which are a map, are in the order of protobuf's deterministic serialization:
sorted by their names, of which one follows those that continue it.
"""

import functools
import struct
from collections.abc import Callable, Mapping
from typing import Any

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
    for name in _in_order(tuple(features)):
        value = features[name]
        kind, encode = _ENCODINGS.get(type(value)) or _encoding(value)
        content = encode(value)
        parts += _before(name, kind, len(content)), content
    return b"".join((_FIRST, _varint(sum(map(len, parts))), *parts))


@functools.lru_cache(64)  # nearly all images have the same features
def _in_order(names: tuple[str, ...]) -> list[str]:
    return sorted(names, key=lambda name: name.encode() + b"\xff")  # higher than any byte of UTF-8


@functools.lru_cache(4096)  # labels, and the sizes of images
def _int64(value: int) -> bytes:
    return _varint(value & _UNSIGNED)


# The kind of a type's values, and what returns a value as it is stored.
_ENCODINGS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (_BYTES_LIST, str.encode),
    bytes: (_BYTES_LIST, bytes),
    int: (_INT64_LIST, _int64),
    float: (_FLOAT_LIST, _FLOAT.pack),
}


def _encoding(value: Value) -> tuple[bytes, Callable[[Any], bytes]]:
    """Returns the encoding of a value whose type is derived from one of these."""
    known = (found for kind, found in _ENCODINGS.items() if isinstance(value, kind))
    return next(known, _ENCODINGS[float])


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
