"""Ctrl-C and SIGTERM in each command that takes time: message, JSON and exit code."""

import json

import pytest
from typer.testing import CliRunner

from components import stop_signals
from components.stop_signals import TerminatedError
from pipeline import cli, local, options
from pipeline.kubeflow import runs_cli
from pipeline.sample import dataset
from pipeline.settings import load, preset_path
from pipeline.study import cli as study_cli

TWO_KINDS = [
    (KeyboardInterrupt("Ctrl-C was pressed"), 130, "interrupted"),
    (TerminatedError("SIGTERM was received"), 143, "terminated by SIGTERM"),
]
KUBEFLOW = ["kubeflow.host=http://x", "kubeflow.image=x:1", "kubeflow.pipeline_root=s3://x/y"]
COMMANDS = [
    (cli, "_run", ["run", "--preset", "demo"], "run the same command again to resume"),
    (study_cli, "_study", ["study", "--preset", "training"], "run the same command again"),
    (cli, "_predict", ["predict", "photos"], "run the same command again"),
    (dataset, "make_sample", ["data", "make-sample", "folder"], "nothing was written"),
    (
        *(runs_cli, "wait_for"),
        [
            *("kubeflow", "runs", "wait", "some-id", "--preset", "demo"),
            *(part for setting in KUBEFLOW for part in ("--set", setting)),
        ],
        "runs on the cluster continue",
    ),
]


@pytest.mark.parametrize(("error", "code", "event"), TWO_KINDS)
@pytest.mark.parametrize(("module", "function", "command", "advice"), COMMANDS)
def test_an_interrupted_command(
    error, code, event, module, function, command, advice, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_, **__):
        raise error

    monkeypatch.setattr(module, function, interrupted)
    with_json = command[0] not in {"predict", "data"}
    result = CliRunner().invoke(cli.app, [*command, *(["--json"] if with_json else [])])
    assert result.exit_code == code, result.stderr
    assert f"error: {event}; " in result.stderr
    assert advice in result.stderr
    if with_json:
        answer = json.loads(result.stdout)
        assert answer["status"] == "interrupted"
        assert event in answer["error"]


@pytest.fixture
def terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has received SIGTERM."""
    monkeypatch.setattr(stop_signals._received, "error", TerminatedError("SIGTERM was received"))


def test_a_signal_that_a_library_replaced_by_another_error_is_still_reported(
    terminated, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    def replaced(*_, **__):
        raise RuntimeError("a library's error")

    monkeypatch.setattr(local, "_open_store", replaced)
    with pytest.raises(TerminatedError):
        local.run(load(preset_path("notebook_cnn")), tmp_path, data_version="")


def test_the_help_lists_the_exit_codes():
    for command in ([], ["kubeflow"]):
        text = " ".join(CliRunner().invoke(cli.app, [*command, "--help"]).stdout.split())
        assert "130 interrupted by Ctrl-C, 143 terminated by SIGTERM" in text.replace("│ ", "")


def test_a_process_that_is_stuck_reports_what_the_command_would(capsys):
    with (
        options.reporting_interruption("do this", as_json=True),
        pytest.raises(options.typer.Exit),
    ):
        options._report[-1](TerminatedError())
    assert json.loads(capsys.readouterr().out)["error"] == "terminated by SIGTERM; do this"
