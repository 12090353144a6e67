"""Parses untrusted JSON, once a linear scan has bounded its depth and its size."""

import json
import re
from typing import Any, NoReturn

from gateway.errors import RequestError, malformed, shown

_STRUCTURE = re.compile(r'["\[\]{},]')
_NESTING = {"[": 1, "{": 1, "]": -1, "}": -1}
# Possessive, so that a string without an end costs one pass and not one for each of its quotes.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def parse(body: bytes | bytearray, *, max_depth: int, max_tokens: int) -> dict[str, Any]:
    """The object that a body holds.

    Args:
      body: UTF-8.
      max_depth: how deep arrays and objects may nest.
      max_tokens: how many brackets, commas and strings it may have.

    Raises:
      RequestError: 400, where it is no JSON object, nests too deep, has too many parts, names a
        key twice or holds NaN or Infinity.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(f"the body must be JSON in UTF-8. Received: {error}") from error
    check_structure(text, max_depth=max_depth, max_tokens=max_tokens)
    try:
        document = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except ValueError as error:
        raise malformed(f"the body must be JSON: {error}. Received: {shown(text)}") from error
    if not isinstance(document, dict):
        raise malformed(f"the body must be a JSON object. Received: {shown(text)}")
    return document


def check_structure(text: str, *, max_depth: int, max_tokens: int) -> None:
    """Bounds how deep JSON nests and how many parts it has, in linear time.

    Raises:
      RequestError: 400, where a bound is passed or a string does not end.
    """
    depth = tokens = position = 0
    while match := _STRUCTURE.search(text, position):
        position = match.end()
        tokens += 1
        if match[0] == '"':
            position = _end_of_string(text, match.start())
        depth += _NESTING.get(match[0], 0)
        if depth > max_depth:
            raise RequestError(
                400,
                "json_too_deep",
                f"the JSON nests too deep; at most {max_depth} levels are read",
            )
        if tokens > max_tokens:
            raise RequestError(
                400,
                "json_too_large",
                f"the JSON has over {max_tokens:,} brackets, commas and strings",
            )


def _end_of_string(text: str, start: int) -> int:
    match = _STRING.match(text, start)
    if match is None:
        raise malformed("the body must be JSON. Received: a string without an end")
    return match.end()


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {shown(name)} appears twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
