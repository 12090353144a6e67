"""YAML that would be dropped or changed silently, or cause a traceback, is refused."""

import pytest
import yaml

from pipeline.yaml_text import YamlError, load, load_all

REFUSED = {
    "a: 1\nb:\n  c: 1\n  c: 1\n": r"line 4: the key b\.c is given twice, first in line 3",
    "a: [{b: 1, b: 2}]": r"the key a\.0\.b is given twice",
    'a: 1\n"a": 2': "the key a is given twice",
    "a: &x {b: 1, b: 2}\nc: *x": r"the key a\.b is given twice",
    "1: a": 'YAML reads 1 as the number 1; quote it: "1"',
    "[a]: b": "a key must be text",
    "a: &x {b: *x}": r"a\.[b0] contains itself",
    "a: &x [*x]": r"a\.[b0] contains itself",
    "a: 2026-02-30": "line 1: a can't be parsed .*Received: '2026-02-30'",
    "a: !!bool maybe": "a can't be parsed .*Received: 'maybe'",
    "a: !!timestamp soon": "a can't be parsed .*Received: 'soon'",
    "a: " + "9" * 5000: "a can't be parsed .*Received: '9+",
    "a: 0x" + "f" * 5000: "a can't be parsed .*at most 4,096 bits.*Received: '0xf+",
    "a: [&x0 [a], " + ", ".join(f"&x{n} [{f'*x{n - 1}, ' * 9}]" for n in range(1, 9)) + "]": (
        "has more than 100,000 values when its aliases are written out; remove them"
    ),
    "2026-02-30": "line 1: the value can't be parsed .*Received: '2026-02-30'",
    "a: " + "[" * 5000: "nested too deeply",
    "a: [": "not valid YAML",
    "a: 1\n---\nb: 2": "must be a single document. Received: 2",
}


@pytest.mark.parametrize("text", REFUSED, ids=[text[:20] for text in REFUSED])
def test_ambiguous_or_invalid_yaml_is_refused(text):
    with pytest.raises(YamlError, match=REFUSED[text]):
        load(text)


MERGED = """
base: &base {a: 1, b: 2}
one: {<<: *base, b: 3}
two: *base
three: [yes, 010, text, 2026-11-27, null]
"""


def test_advice_on_a_long_number_is_short():
    document = load("a: " + "9" * 1000)
    assert len(document.advice[("a",)]) < 400


def test_other_yaml_is_read_as_by_pyyaml():
    assert load(MERGED).value == yaml.safe_load(MERGED)
    assert load("").value is None
    assert [found.value for found in load_all("a: 1\n---\nb: 2")] == [{"a": 1}, {"b": 2}]


def bomb(levels: int) -> str:
    """A list of nine aliases to a list of nine aliases, and so on."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


def test_aliases_that_stand_for_too_many_values_are_refused_before_they_are_written_out():
    with pytest.raises(YamlError, match="more than 100,000 values when its aliases are written"):
        load(bomb(levels=12))
    assert len(load(bomb(levels=3)).value["a2"]) == 9


def test_a_long_list_without_aliases_is_no_bomb():
    assert len(load(f"[{'x,' * 100_001}]").value) == 100_001


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "{a: " * 5000 + "}" * 5000])
def test_deep_nesting_is_refused(text: str):
    with pytest.raises(YamlError, match="nested too deeply, over 100 levels"):
        load(text)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 20000])
def test_an_integer_that_cannot_be_printed_is_refused(text: str):
    with pytest.raises(YamlError, match="can't be parsed") as caught:
        load(f"epochs: {text}")
    assert len(str(caught.value)) < 300
