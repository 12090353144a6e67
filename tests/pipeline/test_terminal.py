"""Text from users, data and servers is printed literally, not as markup or escape sequences."""

import datetime
import io
import logging
from pathlib import Path

import kfp_server_api
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline import summary
from pipeline.cli import app
from pipeline.console import COMPONENT_LOGGER, RunView, followed
from pipeline.kubeflow import show
from pipeline.kubeflow.runs import Run, Task
from pipeline.local import RunResult
from pipeline.study import summary as study_summary
from pipeline.study.run import StudyResult
from pipeline.terminal import visible

TEXTS = {
    "dog [final].jpg": "dog [final].jpg",
    "[bold]x": "[bold]x",
    "[/]": "[/]",
    "[red]x[/red]": "[red]x[/red]",
    "[link=example.org]x": "[link=example.org]x",
    ":dog:": ":dog:",
    "a\x1b[2Jb": r"a\x1b[2Jb",
    "a\rb\x07": r"a\rb\x07",
    "\u202eabc\u2066": r"\u202eabc\u2066",
    "caf\udce9": r"caf\udce9",
    "no\u00a0break": r"no\xa0break",
    "café 写真 🐶": "café 写真 🐶",
}


@pytest.fixture(params=TEXTS, ids=[repr(text) for text in TEXTS])
def text(request) -> str:
    return request.param


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(*shown: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    for one in shown:
        console.print(one)
    return console.file.getvalue()


def test_unprintable_characters_are_escaped(text):
    assert visible(text) == TEXTS[text]


def test_newlines_and_tabs_can_be_kept():
    assert visible("a\nb\t\x00", keep="\n\t") == "a\nb\t\\x00"


@pytest.mark.parametrize("screen", [io.StringIO, Terminal])
def test_messages_of_components_and_of_tfx(text, screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    # pytest would capture the text, and its workers can't send text that is not Unicode.
    monkeypatch.setattr(logging.getLogger(COMPONENT_LOGGER), "propagate", False)
    shown = screen()
    with RunView(shown, ["Trainer"]) as view, followed(view):
        logging.getLogger("absl").info("Component %s is running.", "Trainer")
        logging.getLogger("outnumbered.trainer").info("%s", text)
        view._live and view._live.refresh()
    assert TEXTS[text] in shown.getvalue()


def kubeflow_run(text: str) -> Run:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return Run(
        run_id=f"id {text}",
        name=f"name {text}",
        state=f"STATE {text}",
        created_at=moment,
        finished_at=None,
        schedule_id=None,
        parameters={f"parameter {text}": f"value {text}"},
        pipeline_root=f"root {text}",
        error=f"error {text}",
        tasks=(Task(f"task {text}", "FAILED", f"reason {text}"),),
        url="https://example.org",
    )


def test_runs_on_kubeflow(text):
    listed = drawn(show.runs_table([kubeflow_run(text)]))
    assert all(f"{what} {TEXTS[text]}" in listed for what in ("id", "name", "STATE"))
    console = Console(file=io.StringIO(), width=200)
    show.show_run(kubeflow_run(text), console)
    shown = console.file.getvalue()
    for what in ("name", "STATE", "parameter", "value", "root", "error", "task", "reason"):
        assert f"{what} {TEXTS[text]}" in shown


def test_schedules_on_kubeflow(text):
    schedule = kfp_server_api.V2beta1RecurringRun(
        display_name=f"name {text}", recurring_run_id=f"id {text}", status="ENABLED"
    )
    listed = drawn(show.schedules_table([schedule]))
    assert f"name {TEXTS[text]}" in listed
    assert f"id {TEXTS[text]}" in listed


def test_the_summary_of_a_run(text, tmp_path):
    rates = ("precision", "recall", "f1", "pr_auc", "accuracy", "threshold")
    figures = dict.fromkeys(rates, 0.5) | {"alerts_per_thousand": 10.0, "expected_cost": None}
    counts = dict.fromkeys(("tp", "fp", "tn", "fn"), 1)
    of_slice = {"slice": {"breed": f"slice {text}"}, "examples": 2, "positives": 1}
    metrics = {
        "answer": f"answer {text}",
        "metrics": figures | counts,
        "intervals": {"alerts_per_thousand": [5.0, 20.0]},
        "at_prevalence": figures
        | {"prevalence": 0.5, "intervals": {"alerts_per_thousand": [5.0, 20.0]}},
        "examples": 2,
        "positives": 1,
        "data_check": {
            "anomalies": [
                {
                    "feature": "class_name",
                    "kind": "new class",
                    "found": f"found {text}",
                    "expected": "cats",
                }
            ],
            "schema": {"folder": "schema"},
        },
        "sampling": {"near_duplicates": {"warning": f"warning {text}"}},
        "operating_point": {"promised": None},
        "review": None,
        "slices": [of_slice | figures | counts],
        "worst_slices": [],
        "slice_search": {"looked_at": 140, "found": 0, "false_discovery_rate": 0.05},
        "slices_left_out": {f"column {text}": f"values {text}"},
        "gates": [],
        "blessed": False,
        "reason": f"reason {text}",
        "pushed_model": f"model {text}",
    }
    console = Console(file=io.StringIO(), width=200)
    summary.show(RunResult(Path(f"folder {text}"), metrics), console)
    shown = console.file.getvalue()
    for what in (
        "answer",
        "breed = slice",
        "column",
        "values",
        "warning",
        "found",
        "reason",
        "model",
        "folder",
    ):
        assert f"{what} {TEXTS[text]}" in shown


def test_the_summary_of_a_study(text):
    arm = {
        "arm": "balanced",
        "tests": {},
        "replicates": {"diverged": [{"replicate": 3, "detail": f"detail {text}"}]},
    }
    study = {
        "answer": {"headline": f"headline {text}", "splits": {}},
        "arms": [arm],
        "frontier": [],
    }
    console = Console(file=io.StringIO(), width=200)
    study_summary.show(StudyResult(Path(f"folder {text}"), study), console)
    shown = console.file.getvalue()
    for what in ("headline", "balanced: replicate 3 diverged: detail", "folder"):
        assert f"{what} {TEXTS[text]}" in shown


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--preset", "{}"],
        ["run", "--settings", "{}.yaml"],
        ["run", "--preset", "demo", "--set", "{}"],
        ["study", "--preset", "{}"],
        ["predict", "{}"],
        ["kubeflow", "compile", "--settings", "{}"],
        ["run", "{}"],
        ["{}"],
    ],
    ids=" ".join,
)
def test_errors_of_the_command_line(command, monkeypatch):
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    for text in ("[bold]x", "[/]", "dog [final].jpg"):
        result = CliRunner().invoke(app, [part.format(text) for part in command])
        assert result.exit_code == 2, result.output
        assert text in result.stderr
