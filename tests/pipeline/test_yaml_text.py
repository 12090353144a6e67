"""YAML: what is refused, since it would be dropped or changed silently, or end in a traceback."""

import pytest
import yaml

from pipeline.yaml_text import YamlError, load, load_all

REFUSED = {
    "a: 1\nb:\n  c: 1\n  c: 1\n": r"line 4: the key b\.c is given twice, first in line 3",
    "a: [{b: 1, b: 2}]": r"the key a\.0\.b is given twice",
    'a: 1\n"a": 2': "the key a is given twice",
    "a: &x {b: 1, b: 2}\nc: *x": r"the key a\.b is given twice",
    "1: a": 'YAML reads 1 as the number 1; quote it: "1"',
    "[a]: b": "a key is not text",
    "a: &x {b: *x}": r"a\.[b0] contains itself",
    "a: &x [*x]": r"a\.[b0] contains itself",
    "a: 2026-02-30": "line 1: a '2026-02-30' can't be read",
    "a: !!bool maybe": "a 'maybe' can't be read",
    "a: !!timestamp soon": "a 'soon' can't be read",
    "a: " + "9" * 5000: "a '9+.*can't be read",
    "a: " + "[" * 5000: "nested too deeply",
    "a: [": "not YAML",
    "a: 1\n---\nb: 2": "one document is expected. Received: 2",
}


@pytest.mark.parametrize("text", REFUSED, ids=[text[:20] for text in REFUSED])
def test_what_would_be_lost_or_can_t_be_read_is_refused(text):
    with pytest.raises(YamlError, match=REFUSED[text]):
        load(text)


MERGED = """
base: &base {a: 1, b: 2}
one: {<<: *base, b: 3}
two: *base
three: [yes, 010, text, 2026-11-27, null]
"""


def test_all_else_is_as_pyyaml_reads_it():
    assert load(MERGED).value == yaml.safe_load(MERGED)
    assert load("").value is None
    assert [found.value for found in load_all("a: 1\n---\nb: 2")] == [{"a": 1}, {"b": 2}]
