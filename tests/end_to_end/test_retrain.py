"""`outnumbered retrain`, by its command."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Outcome, command_environment, outnumbered
from receivers import HttpReceiver


def retrain(settings: Path, output: Path, *options: str) -> Outcome:
    return outnumbered("retrain", "--settings", settings, "--output", output, "--json", *options)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("retrained") / "runs"


@pytest.fixture(scope="module")
def first(small_settings, output):
    outcome = retrain(small_settings, output)
    assert outcome.code == 0, outcome.err
    return outcome.json


def lines(output):
    return [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]


def test_a_model_is_released_and_recorded(first, output):
    assert (first["status"], first["version"], first["champion"]) == ("released", 1, None)
    assert (output / "registry" / "1" / "saved_model.pb").is_file()
    assert (output / first["run"] / "report.html").is_file()
    (line,) = lines(output)
    assert line.items() <= first.items()
    assert (line["images"], line["positives"]) == (440, 40)
    assert "released as 1" in (output / "history.html").read_text()


def test_the_same_data_is_not_trained_on_again_whoever_is_told(
    first, small_settings, output, monkeypatch
):
    with HttpReceiver() as receiver:
        monkeypatch.setenv("OUTNUMBERED_SLACK_URL", receiver.url)
        again = retrain(small_settings, output, "--set", "notifications.slack={}")
    assert receiver.requests == []
    assert (again.code, again.json["is_new"], again.json["version"]) == (0, False, 1)
    assert len(lines(output)) == 1
    assert len(list((output / "runs").iterdir())) == 1


def test_a_model_that_fails_its_gates_is_recorded_and_told_but_not_released(
    first, small_settings, output, monkeypatch
):
    gates = 'evaluator.gates=["fn <= 0", "fp <= 0"]'
    notifications = "notifications={slack: {}, webhook: {}}"
    with HttpReceiver() as receiver:
        monkeypatch.setenv("OUTNUMBERED_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("OUTNUMBERED_SLACK_URL", "http://127.0.0.1:9/hidden")
        outcome = retrain(small_settings, output, "--set", gates, "--set", notifications)
    ((_, _, body),) = receiver.requests
    told = json.loads(body)
    assert (told["outcome"], told["blessed"], told["version"]) == ("not_blessed", False, None)
    assert told["reason"] == outcome.json["reason"]
    assert told["run"]["name"] == str(output / outcome.json["run"])
    # Slack can't be reached: the outcome stands, and the URL is nowhere.
    assert "not told about the run: Slack's webhook of OUTNUMBERED_SLACK_URL" in outcome.err
    log = (output / outcome.json["run"] / "run.log").read_text()
    assert "hidden" not in outcome.err + outcome.out + log
    assert outcome.code == 3, outcome.err
    assert (outcome.json["status"], outcome.json["champion"]) == ("rejected", 1)
    assert [path.name for path in sorted((output / "registry").glob("[0-9]*"))] == ["1"]
    assert [line["outcome"] for line in lines(output)] == ["released", "rejected"]


def test_while_another_is_running_nothing_is_recorded(first, small_settings, output):
    before = (output / "history.jsonl").read_bytes()
    with (output / "tfx" / "retrain.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = retrain(small_settings, output, "--set", "trainer.epochs=3")
    assert (outcome.code, outcome.json["status"]) == (1, "failed")
    assert "another run is using" in outcome.err
    assert (output / "history.jsonl").read_bytes() == before


def test_tensorflow_is_not_loaded_before_the_run(small_settings, tmp_path):
    # The run keeps its messages from the screen, and sets how it uses a GPU.
    code = (
        "import sys; from pipeline import cli, local\n"
        "local.run = lambda *_, **__: sys.exit('tensorflow' in sys.modules)\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", code, "retrain", "--settings", small_settings]
    done = subprocess.run(
        [*map(str, command), "--output", tmp_path], check=False, env=command_environment()
    )
    assert done.returncode == 0


def test_settings_that_are_wrong_leave_the_history_alone(first, small_settings, output):
    before = (output / "history.jsonl").read_bytes()
    outcome = retrain(small_settings, output, "--set", "trainer.epochs=0")
    assert (outcome.code, outcome.json["status"]) == (2, "failed")
    assert "trainer.epochs" in outcome.err
    assert (output / "history.jsonl").read_bytes() == before
