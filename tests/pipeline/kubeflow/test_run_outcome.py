"""How a run ended, from its final status and its files."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.kubeflow import run_outcome
from pipeline.kubeflow.run_outcome import RunOutcome, StoredFile, outcome_of, without_files

PUSHED = {"pushed": 1, "pushed_destination": "s3://r/7", "pushed_version": "7", "is_new": True}
BLESSED = {"blessed": True, "reason": "all gates passed"}
DONE = {"Reporter/1/report/metrics.json": "{}", "Reporter/1/executor-logs-0": "done"}


def outcome(files: Mapping[str, Any], state: str = "FAILED", **status: Any) -> RunOutcome:
    contents = {
        path: (text if isinstance(text, str) else json.dumps(text)).encode()
        for path, text in files.items()
    }
    stored = [StoredFile(path, len(content)) for path, content in contents.items()]
    return outcome_of({"state": state, **status}, stored, contents.__getitem__, ["Reporter"])


def reasons(files: Mapping[str, Any], state: str = "FAILED", **status: Any) -> list[Any]:
    found = outcome(files, state, **status)
    assert found.outcome == "failed"
    return [(failure.step, failure.reason) for failure in found.failures]


def test_a_step_that_failed_is_told_with_the_last_line_of_its_last_log():
    files = {
        "ImageExampleGen/1/examples/Split-all/data": "",
        "ImageExampleGen/1/executor-logs-0": "all read",
        "Trainer/2/executor-logs-0": "Trainer failed: the first time",
        "Trainer/2/executor-logs-10": "Traceback\nTrainer failed: no image is left\n\n",
        "Trainer/2/executor-logs-9": "Traceback\nTrainer failed: no space left\n",
    }
    assert reasons(files) == [("Trainer", "Trainer failed: no image is left")]


def test_a_step_that_was_retried_and_succeeded_is_no_failure():
    files = {
        "Trainer/1/executor-logs-0": "Trainer failed: a spot node",
        "Trainer/1/executor-logs-1": "trained",
        "Trainer/1/model/Format-Serving/saved_model.pb": "",
        "Evaluator/2/executor-logs-0": "Evaluator failed: no val split",
    }
    assert reasons(files) == [("Evaluator", "Evaluator failed: no val split")]


def test_all_arms_that_failed_are_told():
    files = {
        "Trainer-b/1/executor-logs": "Trainer-b failed: killed",
        "Trainer-a/2/executor-logs-0": "interrupted: SIGTERM was received; a training resumes",
    }
    assert [step for step, _ in reasons(files)] == ["Trainer-a", "Trainer-b"]
    assert reasons(files)[0][1].startswith("interrupted: SIGTERM")


@pytest.mark.parametrize("state", ["FAILED", "RUNNING", "", "CANCELED"])
def test_a_step_that_ended_without_a_word_is_told_with_the_end_of_its_log(state: str):
    ((step, reason),) = reasons({"Trainer/1/executor-logs-0": "epoch 3 of 10\n"}, state)
    assert step == "Trainer"
    assert "killed for lack of memory; the end of its log: epoch 3 of 10" in reason


def test_a_log_of_any_bytes_and_length_is_told(monkeypatch: pytest.MonkeyPatch):
    contents = {"Trainer/1/executor-logs-0": b"Trainer failed: \xff " + b"x" * 9000}
    stored = [StoredFile(path, len(text)) for path, text in contents.items()]
    found = outcome_of({"state": "FAILED"}, stored, contents.__getitem__, [])
    assert found.failures[0].reason.startswith("Trainer failed: \ufffd x")
    monkeypatch.setattr(run_outcome, "_MOST_BYTES", 100)
    found = outcome_of({"state": "FAILED"}, stored, contents.__getitem__, [])
    assert found.failures[0].reason == "its log is too long to be read here"


def test_without_logs_the_message_of_the_status_is_told_or_that_none_is_known():
    assert reasons({}, error={"message": "exit code 137"}) == [(None, "exit code 137")]
    ((step, reason),) = reasons({}, error={})
    assert step is None
    assert "no step has said why" in reason


@pytest.mark.parametrize("state", ["COMPLETE", "SUCCEEDED"])
@pytest.mark.parametrize(
    ("left", "told"),
    [
        ({**BLESSED, **PUSHED}, "pushed"),
        ({**BLESSED, **PUSHED, "is_new": False}, "finished"),
        ({"blessed": False, "reason": "recall is 0.84", "pushed": 0}, "not_blessed"),
    ],
)
def test_the_verdict_of_a_run_that_succeeded_is_that_of_its_pusher(state, left, told):
    found = outcome({"Pusher/1/pushed_model/pushed.json": left}, state)
    assert found.outcome == told
    facts = found.facts()
    assert (facts["blessed"], facts["reason"]) == (left["blessed"], left["reason"])
    assert facts["version"] == (7 if left["pushed"] else None)
    assert facts["model"] == left.get("pushed_destination")


def test_a_run_without_a_pusher_is_finished():
    found = outcome({}, "COMPLETE")
    assert (found.outcome, found.failures) == ("finished", ())
    assert outcome({"Pusher/1/pushed_model/pushed.json": "damaged"}, "COMPLETE").pushed is None


def test_a_run_whose_last_step_has_left_its_output_has_succeeded_unless_it_is_said_to_have_failed():
    """In ML Metadata a state may stay RUNNING, and a status may come before the run's end."""
    assert outcome(DONE, "RUNNING").outcome == "finished"
    assert outcome(DONE, "FAILED").outcome == "failed"
    logs = {"Reporter/1/executor-logs-0": "Reporter failed: no report"}
    assert outcome(logs, "RUNNING").outcome == "failed"


def test_of_a_run_whose_files_can_t_be_read_the_status_is_told():
    found = without_files({"state": "FAILED", "error": {"message": "137"}}, "no such bucket")
    assert found.outcome == "failed"
    reason = found.failures[0].reason
    assert reason.startswith("137; the files of the run")
    assert reason.endswith("no such bucket")
    found = without_files({"state": "COMPLETE"}, "no such bucket")
    assert found.outcome == "finished"
    assert "not known, as its files can't be read: no such bucket" in found.facts()["reason"]
    found = without_files({}, "no such bucket")
    assert found.failures[0].reason.startswith("Kubeflow Pipelines says nothing")
