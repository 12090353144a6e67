"""Parses untrusted JSON after a linear scan has checked its depth and size."""

import json
import re
from typing import Any, NoReturn

from gateway.errors import RequestError, malformed, shortened

_STRUCTURE = re.compile(r'["\[\]{},]')
_NESTING = {"[": 1, "{": 1, "]": -1, "}": -1}
# Possessive quantifiers: an unterminated string costs one pass, not one per quote.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def parse(body: bytes | bytearray, *, max_depth: int, max_tokens: int) -> dict[str, Any]:
    """Parses a body that holds a JSON object.

    Args:
      body: UTF-8 text.
      max_depth: maximum nesting depth of arrays and objects.
      max_tokens: maximum number of brackets, commas and strings.

    Raises:
      RequestError: 400, if the body is not a JSON object, nests too deeply, has too many tokens,
        contains a duplicate key, NaN or Infinity.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(f"the body must be JSON in UTF-8. Received: {error}") from error
    check_structure(text, max_depth=max_depth, max_tokens=max_tokens)
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except ValueError as error:
        raise malformed(f"the body must be JSON: {error}. Received: {shortened(text)}") from error
    if not isinstance(document, dict):
        raise malformed(f"the body must be a JSON object. Received: {shortened(text)}")
    return document


def check_structure(text: str, *, max_depth: int, max_tokens: int) -> None:
    """Checks the nesting depth and the number of tokens of JSON, in linear time.

    Raises:
      RequestError: 400, if a limit is exceeded or a string is unterminated.
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
                f"the JSON nests too deeply; at most {max_depth} levels are allowed",
            )
        if tokens > max_tokens:
            raise RequestError(
                400,
                "json_too_large",
                f"the JSON has more than {max_tokens:,} brackets, commas and strings",
            )


def _end_of_string(text: str, start: int) -> int:
    match = _STRING.match(text, start)
    if match is None:
        raise malformed("the body must be JSON. Received: an unterminated string")
    return match.end()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {shortened(name)} appears twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
