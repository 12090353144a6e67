"""The history of a model that is retrained."""

import datetime
import json

import pytest

from pipeline.retrain import history
from pipeline.retrain.history import HistoryError, Outcome, Row


def a_row(key="k", outcome=Outcome.RELEASED, **given):
    at = datetime.datetime(2026, 11, 27, 3, tzinfo=datetime.UTC)
    return Row(key=key, at=at, seconds=61.0, outcome=outcome, reason="recall is 0.9", **given)


def test_lines_are_read_as_they_were_written_oldest_first(tmp_path):
    path = tmp_path / "history.jsonl"
    rows = [
        a_row("1", version=1, metrics={"f1": history.Figure(value=0.8, interval=(0.7, 0.9))}),
        a_row("2", Outcome.FAILED, champion=1),
    ]
    for row in rows:
        history.append(path, row)
    assert history.read(path) == rows
    assert [json.loads(line)["schema_version"] for line in path.read_text().splitlines()] == [1, 1]


def test_there_are_no_lines_before_the_first_run(tmp_path):
    assert history.read(tmp_path / "history.jsonl") == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"schema_version": 1, "key": "half', "line 2"),
        ('{"schema_version": 2}', "schema_version"),
        ("[]", "line 2"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_written(tmp_path, line, found):
    path = tmp_path / "history.jsonl"
    history.append(path, a_row())
    path.write_text(f"{path.read_text()}{line}\n")
    before = path.read_text()
    with pytest.raises(HistoryError, match=found):
        history.append(path, a_row("2"))
    assert path.read_text() == before


def test_bytes_that_are_not_text_are_named(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(HistoryError, match=r"history\.jsonl"):
        history.read(path)


def test_a_line_may_have_characters_at_which_other_texts_are_split(tmp_path):
    path = tmp_path / "history.jsonl"
    row = a_row(gates=[history.GateOutcome(gate="a\u2028b\x85c", passed=True, description="")])
    history.append(path, row)
    assert history.read(path) == [row]


def test_a_failed_run_is_to_be_repeated():
    rows = [a_row("1", version=1), a_row("2", Outcome.FAILED)]
    assert history.unchanged(rows, "1") == rows[0]
    assert history.unchanged(rows, "2") is None


def test_only_the_last_finished_run_tells_whether_something_has_changed():
    rows = [a_row("1", version=1), a_row("2", Outcome.REJECTED)]
    assert history.unchanged(rows, "1") is None
    assert history.unchanged(rows, "2") == rows[1]
    assert history.unchanged([], "1") is None


def test_recalls_interval_is_that_of_the_test_split():
    world = dict.fromkeys(history.METRICS, 0.5) | {
        "prevalence": 0.1,
        "intervals": {"f1": [0.4, 0.6], "precision": None, "pr_auc": [0.3, 0.7]},
    }
    found = history.figures({"at_prevalence": world, "intervals": {"recall": [0.2, 0.8]}})
    assert found["recall"].interval == (0.2, 0.8)
    assert found["f1"].interval == (0.4, 0.6)
    assert found["precision"].interval is None
