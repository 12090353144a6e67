"""Messages about what was given have a bounded length."""

import pytest

from components.evaluator.gates import GateError, parse
from components.image_example_gen.manifest import SourceError, read_rows
from components.messages import MAX_LENGTH, cut


def test_a_long_text_loses_its_middle():
    assert cut("abc", 3) == "abc"
    assert cut("a" * 5 + "b" * 2000 + "c" * 5, 10) == "aaaaa … (2,000 characters left out) … ccccc"


def test_a_gate_and_a_manifest_of_any_length_have_errors_of_a_bounded_one(tmp_path):
    with pytest.raises(GateError, match="characters left out") as gate:
        parse("x" * 10**5)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("x" * 10**5, encoding="utf-8")
    with pytest.raises(SourceError, match="characters left out") as rows:
        read_rows(str(manifest))
    for error in (gate.value, rows.value):
        assert len(str(error)) < MAX_LENGTH + 100
