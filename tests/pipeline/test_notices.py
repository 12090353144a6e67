"""Who is told of a run on this machine, and of what."""

import json
from pathlib import Path
from typing import Any

import pytest
from receivers import HttpReceiver

from pipeline import notices
from pipeline.local import RunError, RunResult
from pipeline.preflight import check_run
from pipeline.settings import Settings, parse
from pipeline.study.run import StudyResult

FOLDER = Path("/srv/pets/runs/20261127T030000.000000Z")
TREE = {
    "name": "pets",
    "data": {"source": "photos", "positive_class": "dogs"},
    "sampler": {"splits": {name: {"cats": 10, "dogs": 1} for name in ("train", "val", "test")}},
    "notifications": {"webhook": {}, "link": "https://runs.example.com/{run}"},
}


def settings(**more: Any) -> Settings:
    return parse({**TREE, **more}, origin="test")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch):
    with HttpReceiver() as found:
        monkeypatch.setenv("OUTNUMBERED_WEBHOOK_URL", found.url)
        yield found


def told(receiver: HttpReceiver) -> dict[str, Any]:
    ((_, _, body),) = receiver.requests
    return json.loads(body)


def test_a_pushed_model_is_told_with_its_version(receiver):
    model = "s3://models/pets/7"
    metrics = {"blessed": True, "reason": "all gates passed", "pushed_model": model}
    notices.tell_result(settings(), RunResult(FOLDER, metrics))
    found = told(receiver)
    assert (found["outcome"], found["version"], found["model"]) == ("pushed", 7, model)
    assert found["run"] == {
        "id": FOLDER.name,
        "name": str(FOLDER),
        "link": f"https://runs.example.com/{FOLDER.name}",
    }


def test_a_finished_study_is_told(receiver):
    notices.tell_study(settings(), StudyResult(FOLDER, {}))
    assert told(receiver)["outcome"] == "finished"


def test_a_failure_is_told_and_raised(receiver):
    error = RunError("no space left\nFull log: run.log", folder=FOLDER, step="Trainer")
    with pytest.raises(RunError), notices.failures_told(settings()):
        raise error
    found = told(receiver)
    assert found["failures"] == [{"step": "Trainer", "reason": str(error)}]
    assert found["title"] == "pets: the run failed in Trainer"


def test_a_failure_before_the_run_has_no_link_and_any_name_of_a_file(receiver):
    with pytest.raises(ValueError), notices.failures_told(settings()):  # noqa: PT011
        raise ValueError("no image in photos/\udce9")
    found = told(receiver)
    assert found["run"] == {"id": "", "name": "not begun", "link": None}
    assert found["failures"] == [{"step": None, "reason": r"no image in photos/\udce9"}]


def test_ctrl_c_is_not_told(receiver):
    with pytest.raises(KeyboardInterrupt), notices.failures_told(settings()):
        raise KeyboardInterrupt
    assert receiver.requests == []


def test_who_is_told_is_no_parameter_of_a_run():
    assert settings().parameters() == settings(notifications={}).parameters()


def test_a_variable_that_is_missing_is_reported_before_the_run(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("OUTNUMBERED_WEBHOOK_URL", raising=False)
    with pytest.raises(ValueError, match=r"OUTNUMBERED_WEBHOOK_URL, which notifications\.webhook"):
        check_run(settings(), str(tmp_path / "runs"))
