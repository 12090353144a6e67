"""Rows as JSON lines, CSV and Parquet."""

import csv
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.batch import formats
from pipeline.batch.formats import COLUMNS, OutputError

ROWS = [
    {
        "uri": "a, b.jpg",
        "path": os.fsdecode(b"/caf\xe9.jpg"),
        "probability": 0.25,
        "score": 0.5,
        "is_positive": False,
        "needs_review": True,
        "model_version": "7",
        "error": None,
    },
    dict.fromkeys(COLUMNS) | {"uri": "x\ny.jpg", "path": "x\ny.jpg", "error": "missing"},
]


def test_json_lines_have_all_columns(tmp_path: Path):
    formats.write(ROWS, tmp_path / "rows.jsonl")
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS


def test_csv_has_a_header_and_leaves_unknown_values_empty(tmp_path: Path):
    formats.write(ROWS, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert (first["path"], first["probability"]) == ("/caf\ufffd.jpg", "0.25")
    assert (first["is_positive"], first["needs_review"], first["error"]) == ("false", "true", "")
    assert (second["uri"], second["score"], second["error"]) == ("x\ny.jpg", "", "missing")


def test_parquet_has_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(formats, "_ROWS_PER_GROUP", 1)
    formats.write(ROWS, tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    assert [str(kind) for kind in table.schema.types] == [
        *("string", "string", "float", "float", "bool", "bool", "string", "string")
    ]
    assert table.to_pylist() == [ROWS[0] | {"path": "/caf\ufffd.jpg"}, ROWS[1]]


@pytest.mark.parametrize("output", ["rows", "rows.json", "rows.jsonl.gz", "s3://bucket/rows"])
def test_another_suffix_is_refused(output: str):
    with pytest.raises(OutputError, match=r"must end in one of \.csv, .*Received"):
        formats.check_suffix(output)
