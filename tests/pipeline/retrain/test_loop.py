"""One turn of the loop, with a stand-in for the run."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.in_progress import owned_name
from pipeline.retrain import history
from pipeline.retrain.history import Outcome
from pipeline.retrain.loop import PAGE_FILE, Loop


def metrics(version):
    world = dict.fromkeys(history.METRICS, 0.5)
    return {
        "at_prevalence": {**world, "prevalence": 1 / 11, "intervals": {"f1": [0.4, 0.6]}},
        "intervals": {"recall": [0.4, 0.6], "precision": None, "pr_auc": [0.4, 0.6]},
        "quarantine": {
            "accepted": 275,
            "by_class": {"cats": 250, "dogs": 25},
            "data": {"spans": [{"span": "6"}, {"span": "7"}]},
        },
        "positive_class": "dogs",
        "examples": 53,
        "reason": "recall is 0.5 (>= 0.1)",
        "gates": [{"gate": "recall >= 0.1", "passed": True, "description": "recall is 0.5"}],
        "pushed_model": f"/models/dogs/{version}" if version else None,
    }


class Pipeline:
    """Runs that release a version each; a registry whose newest version serves."""

    def __init__(self, output: Path):
        self.output, self.versions, self.runs = output, [], 0
        self.loop = Loop(
            output=output,
            champion=self.champion,
            run=self.run,
            has_lost=lambda version: version in self.lost,
            title="dogs",
        )
        self.compared_with, self.lost = [], set()
        self.error = self.error_after = None
        self.is_blessed = True

    def serving(self):
        return max(self.versions, default=None)

    def champion(self):
        return str(self.serving() or "none")

    def run(self, champion):
        self.compared_with.append(champion)
        self.runs += 1
        if self.error:
            raise self.error
        if self.is_blessed:
            self.versions.append(len(self.versions) + 1)
        if self.error_after:
            raise self.error_after
        return SimpleNamespace(
            folder=self.output / "runs" / str(self.runs),
            metrics=metrics(self.serving() if self.is_blessed else None),
        )


@pytest.fixture
def pipeline(tmp_path):
    (tmp_path / "tfx").mkdir()
    return Pipeline(tmp_path)


def outcomes(pipeline):
    return [row.outcome for row in history.read(pipeline.output / "history.jsonl")]


def test_a_turn_is_recorded_with_what_it_read_found_and_released(pipeline):
    turn = pipeline.loop.turn("data 1")
    (row,) = history.read(pipeline.output / "history.jsonl")
    assert row == turn.row
    assert (row.images, row.positives, row.tested) == (275, 25, 53)
    assert (row.version, row.champion, row.run) == (1, None, "runs/1")
    assert "released as 1" in (pipeline.output / PAGE_FILE).read_text()


def champions(pipeline):
    return [row.champion for row in history.read(pipeline.output / "history.jsonl")]


def test_each_turn_is_recorded_with_the_version_that_served_before_it(pipeline):
    for key in ("data 1", "data 2", "data 3"):
        pipeline.loop.turn(key)
    assert champions(pipeline) == [None, 1, 2]
    assert pipeline.compared_with == ["none", "1", "2"]


def test_the_same_turn_is_not_run_twice(pipeline):
    first = pipeline.loop.turn("data 1")
    again = pipeline.loop.turn("data 1")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.row == first.row
    assert pipeline.versions == [1]
    assert outcomes(pipeline) == [Outcome.RELEASED]


def test_what_a_killed_turn_was_writing_is_removed_although_nothing_has_changed(pipeline):
    pipeline.loop.turn("data 1")
    gone = subprocess.Popen(["true"])
    gone.wait()
    hidden = pipeline.output / f".{owned_name(gone.pid)}-{PAGE_FILE}"
    hidden.write_text("<html>")
    assert not pipeline.loop.turn("data 1").is_new
    assert not hidden.exists()


def test_a_release_that_was_taken_back_is_not_made_again(pipeline):
    pipeline.loop.turn("data 1")
    pipeline.loop.turn("data 2")
    pipeline.versions.remove(2)  # as a rollback to version 1
    assert not pipeline.loop.turn("data 2").is_new
    assert pipeline.versions == [1]


def test_a_release_that_the_registry_has_lost_is_made_again(pipeline):
    pipeline.loop.turn("data 1")
    pipeline.lost.add(1)
    again = pipeline.loop.turn("data 1")
    assert (again.is_new, again.row.version) == (True, 2)
    assert not pipeline.loop.turn("data 1").is_new


def test_data_that_is_again_as_it_was_before_the_last_change_is_a_change(pipeline):
    for key in ("data 1", "data 2", "data 1"):
        pipeline.loop.turn(key)
    assert champions(pipeline) == [None, 1, 2]


def test_a_rejected_model_is_recorded_as_such(pipeline):
    pipeline.is_blessed = False
    turn = pipeline.loop.turn("data 1")
    assert (turn.row.outcome, turn.row.version) == (Outcome.REJECTED, None)
    assert "not released" in (pipeline.output / PAGE_FILE).read_text()


def test_a_failed_turn_is_recorded_and_run_again(pipeline):
    pipeline.error = RuntimeError("the disk is full")
    with pytest.raises(RuntimeError, match="disk"):
        pipeline.loop.turn("data 1")
    pipeline.error = None
    assert pipeline.loop.turn("data 1").row.version == 1
    assert outcomes(pipeline) == [Outcome.FAILED, Outcome.RELEASED]


def test_the_error_of_a_run_is_reported_although_it_can_not_be_recorded(pipeline):
    pipeline.error = RuntimeError("the disk is full")
    (pipeline.output / PAGE_FILE).mkdir()
    with pytest.raises(RuntimeError, match="the disk is full"):
        pipeline.loop.turn("data 1")


def test_a_history_that_can_not_be_written_is_named_and_the_turn_can_be_recorded_later(pipeline):
    (pipeline.output / PAGE_FILE).mkdir()
    with pytest.raises(history.HistoryError, match=f"{PAGE_FILE} can't be written"):
        pipeline.loop.turn("data 1")
    (pipeline.output / PAGE_FILE).rmdir()
    assert pipeline.loop.turn("data 1").row.version == 1
    assert "released as 1" in (pipeline.output / PAGE_FILE).read_text()
    assert (pipeline.runs, outcomes(pipeline)) == (1, [Outcome.RELEASED])


@pytest.mark.parametrize("text", ["no \udce9.jpg", "a\u2028b", "x" * 9999])
def test_an_error_with_any_text_is_recorded(pipeline, text):
    pipeline.error = RuntimeError(text)
    with pytest.raises(RuntimeError):
        pipeline.loop.turn("data 1")
    (row,) = history.read(pipeline.output / "history.jsonl")
    assert row.reason.startswith(text[0])
    assert len(row.reason) < 2100


def test_with_a_damaged_history_nothing_is_run(pipeline):
    (pipeline.output / "history.jsonl").write_text("{")
    with pytest.raises(history.HistoryError):
        pipeline.loop.turn("data 1")
    assert pipeline.runs == 0
