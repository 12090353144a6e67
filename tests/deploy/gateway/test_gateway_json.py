"""Depth and size of untrusted JSON are checked before it is parsed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import json_body
from gateway.errors import RequestError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def parse(body, *, max_depth=16, max_tokens=1000):
    return json_body.parse(body, max_depth=max_depth, max_tokens=max_tokens)


def depth(value):
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(document=st.dictionaries(st.text(), VALUES, max_size=4), ascii_only=st.booleans())
def test_json_is_accepted_exactly_up_to_the_maximum_depth(document, ascii_only):
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    deep = depth(document)
    assert parse(body, max_depth=deep) == document
    with pytest.raises(RequestError) as caught:
        parse(body, max_depth=deep - 1)
    assert caught.value.reason == "json_too_deep"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * 50_000, "json_too_deep"),
        (b'{"a":' * 50_000, "json_too_deep"),
        (b"[" * 50_000 + b"]" * 50_000, "json_too_deep"),
        (b'{"instances":' + b"[{" * 25_000, "json_too_deep"),
        (b'{"a":[' + b'""' * 2_000, "json_too_large"),
        (b'{"a":[' + b"[]" * 2_000, "json_too_large"),
        (b'{"a":[' + b"1.5," * 2_000, "json_too_large"),
        (b'{"a":"' + b'\\"' * 500_000, "malformed"),
        (b'{"a":"', "malformed"),
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"[1]", "malformed"),
        (b"\xff\xfe{\x00}\x00", "malformed"),
        ("\ufeff{}".encode(), "malformed"),
        ('{"a": "≛"}'.encode("utf-16-le"), "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": -Infinity}', "malformed"),
        (b'{"a": 1, "b": 2, "a": 3}', "malformed"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "malformed"),
        (b'{"a": "\x01"}', "malformed"),
    ],
)
def test_invalid_or_oversized_json_is_refused_with_its_reason(body, reason):
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.reason) == (400, reason)
    assert len(caught.value.message) < 300


def test_brackets_in_strings_do_not_count_as_nesting():
    assert parse(b'{"a": "[[[[\\"[[[["}', max_depth=1) == {"a": '[[[["[[[['}


def test_a_string_with_escaped_slashes_counts_as_one_token():
    assert parse(b'{"b64": "' + rb"\/" * 10_000 + b'"}')["b64"] == "/" * 10_000
