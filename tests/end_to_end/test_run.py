"""`outnumbered run`: from images to a pushed model and a report, in one command."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bad_images import BAD_IMAGES
from command_line import FinishedRun, command_environment, outnumbered
from receivers import HttpReceiver

from components.calibrator import operating_point
from components.reporter.metrics_schema import MetricsFile

OWN_MOUNTS = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def test_json_is_the_only_thing_on_standard_output(finished: FinishedRun):
    assert len(finished.outcome.out.splitlines()) == 1
    assert finished.result["status"] in {"done", "not_blessed"}
    assert set(finished.result["metrics"]) == {
        *("precision", "recall", "f1", "pr_auc", "threshold", "tp", "fp", "tn", "fn"),
        *("alerts_per_thousand", "expected_cost"),
    }


def test_standard_error_has_progress_and_components_without_noise(finished: FinishedRun):
    for component in ("ImageExampleGen", "ImbalanceSampler", "Trainer", "Evaluator", "Pusher"):
        assert f"{component}: done" in finished.outcome.err
    assert "epoch 2/2" in finished.outcome.err
    for noise in ("WARNING", "I0000", "absl", "oneDNN"):
        assert noise not in finished.outcome.err
    assert "oneDNN" in (finished.output / "latest" / "run.log").read_text()


def test_every_image_of_the_test_split_is_counted(finished: FinishedRun):
    metrics = finished.result["metrics"]
    assert metrics["tp"] + metrics["fn"] == 8
    assert metrics["fp"] + metrics["tn"] == 80


def test_latest_has_the_report_figures_settings_and_log(finished: FinishedRun):
    latest = finished.output / "latest"
    assert {path.name for path in latest.iterdir()} == {
        *("metrics.json", "predictions.parquet", "report.html", "settings.yaml", "run.log")
    }
    assert Path(finished.result["report"]).samefile(latest / "report.html")


def test_the_figures_are_valid_by_their_schema(finished: FinishedRun):
    text = (finished.output / "latest" / "metrics.json").read_text()
    MetricsFile.model_validate_json(text, strict=True)


def test_bad_images_are_quarantined_with_their_reasons(finished: FinishedRun):
    quarantine = json.loads((finished.output / "latest" / "metrics.json").read_text())["quarantine"]
    assert quarantine["by_reason"] == BAD_IMAGES
    assert quarantine["accepted"] == 440


def test_more_bad_images_than_allowed_stop_the_run_which_is_told(
    small_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    link = "https://runs.example.com/{run}/run.log"
    with HttpReceiver() as receiver:
        monkeypatch.setenv("OUTNUMBERED_WEBHOOK_URL", receiver.url)
        outcome = outnumbered(
            *("run", "--settings", small_settings, "--output", tmp_path / "runs"),
            *("--set", "data.max_bad_fraction=0.001", "--json"),
            *("--set", f"notifications={{webhook: {{}}, link: {link!r}}}"),
        )
    assert outcome.code == 1
    ((_, _, body),) = receiver.requests
    told = json.loads(body)
    (folder,) = (tmp_path / "runs" / "runs").iterdir()
    assert (told["outcome"], told["pipeline"]) == ("failed", "small")
    assert told["run"]["link"] == f"https://runs.example.com/{folder.name}/run.log"
    (failure,) = told["failures"]
    assert failure["step"] == "ImageExampleGen"
    assert failure["reason"] == outcome.json["error"]
    assert outcome.json["status"] == "failed"
    assert "6 of 446" in outcome.json["error"]
    assert "max_bad_fraction" in outcome.json["error"]
    assert "bad/" in outcome.json["error"]


def test_a_blessed_model_is_pushed_and_ready_to_serve(finished: FinishedRun):
    import tensorflow as tf

    assert finished.result["blessed"], "recall >= 0.01 must hold for a model chosen by best F1"
    assert finished.outcome.code == 0
    pushed = Path(finished.result["pushed_model"])
    assert pushed.parent == finished.output / "registry"
    assert operating_point.read(str(pushed))["threshold"] == pytest.approx(
        finished.result["metrics"]["threshold"]
    )
    model = tf.saved_model.load(str(pushed))
    assert set(model.signatures) == {"serving_default", "predict_images"}


def data_check(output: Path) -> dict[str, Any]:
    return json.loads((output / "latest" / "metrics.json").read_text())["data_check"]


def test_a_second_run_checks_the_data_against_the_kept_schema_and_reuses_the_rest(
    finished: FinishedRun, small_settings: Path
):
    assert not data_check(finished.output)["checked"]
    assert (finished.output / "registry" / "schema" / "schema.pbtxt").is_file()
    second = outnumbered("run", "--settings", small_settings, "--output", finished.output, "--json")
    assert second.code == 0
    assert set(re.findall(r"^(\w+): done,", second.err, re.MULTILINE)) == {
        *("SchemaGen", "ExampleValidator", "Pusher", "Reporter")
    }
    assert second.err.count("cached, unchanged") >= 6
    assert second.json["metrics"] == finished.result["metrics"]
    assert second.json["pushed_model"] == finished.result["pushed_model"]
    found = data_check(finished.output)
    assert (found["checked"], found["anomalies"]) == (True, [])
    assert found["schema"]["version"] == 1


def test_a_model_that_fails_a_gate_is_not_pushed_and_the_exit_code_is_3(
    finished: FinishedRun, small_settings: Path
):
    before = sorted((finished.output / "registry").iterdir())
    outcome = outnumbered(
        *("run", "--settings", small_settings, "--output", finished.output),
        *("--set", "evaluator.gates=['anomalies <= 0', 'fp < 1', 'recall >= 1.0', 'fn < 1']"),
    )
    assert outcome.code == 3, outcome.err
    assert "NOT BLESSED" in outcome.out
    assert "none, the model was not blessed" in outcome.out
    assert sorted((finished.output / "registry").iterdir()) == before
    assert "Trainer: cached" in outcome.err
    gates = json.loads((finished.output / "latest" / "metrics.json").read_text())["gates"]
    assert (gates[0]["value"], gates[0]["passed"]) == (0, True)


def test_a_full_disk_is_reported(small_settings: Path, tmp_path: Path):
    mounted = "mount -t tmpfs -o size=400k tmpfs "
    if subprocess.run([*OWN_MOUNTS, mounted + str(tmp_path)], check=False).returncode:
        pytest.skip("users of this machine can't mount a small disk")
    run = f"{mounted}{tmp_path} && exec {sys.executable} -m pipeline.cli run --json "
    run += f"--settings {small_settings} --output {tmp_path}/runs"
    done = subprocess.run(
        [*OWN_MOUNTS, run], capture_output=True, text=True, check=False, env=command_environment()
    )
    assert done.returncode == 1
    assert f"no space left for {tmp_path}/runs; free some" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr


def interrupted(arguments: list[str], line: str, number: signal.Signals) -> tuple[int, str, str]:
    """Sends a signal when a line appears; returns exit code, standard output and error."""
    process = subprocess.Popen(
        # Processes started in the background by a shell inherit that Ctrl-C is ignored.
        ["env", "--default-signal=INT", sys.executable, "-m", "pipeline.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )
    assert process.stderr is not None
    assert process.stdout is not None
    seen = []
    for text in process.stderr:
        seen.append(text)
        if line in text:
            process.send_signal(number)
            break
    out, err = process.communicate()
    return process.returncode, out, "".join(seen) + err


def trained_variables(output: Path) -> list[bytes]:
    """The weights of each model that the Trainer made; interrupted ones left an empty folder."""
    models = output / "tfx" / "artifacts" / "Trainer" / "model"
    files = models.glob("*/Format-Serving/variables/variables.data-*")
    return [path.read_bytes() for path in files]


def test_an_interrupted_run_resumes_and_ends_as_an_undisturbed_one(
    small_settings: Path, tmp_path: Path
):
    output = tmp_path / "runs"
    arguments = [
        *("run", "--settings", str(small_settings), "--output", str(output), "--json"),
        *("--set", "trainer.epochs=10", "--set", "trainer.image_size=64"),
    ]
    code, out, err = interrupted(arguments, "epoch 3/10", signal.SIGINT)
    assert code == 130, err
    assert "error: interrupted; run the same command again to resume" in err
    assert json.loads(out)["status"] == "interrupted"
    assert not (output / "latest").exists()
    assert not (output / "registry").exists()

    code, out, err = interrupted(arguments, "epoch 5/10", signal.SIGTERM)
    assert code == 143, err
    assert "epoch 1/10" not in err
    assert "Trainer: interrupted" in err
    assert "error: terminated by SIGTERM; run the same command again to resume" in err
    assert json.loads(out)["status"] == "interrupted"

    resumed = outnumbered(*arguments)
    assert resumed.code in {0, 3}, resumed.err
    assert "ImbalanceSampler: cached" in resumed.err
    assert "epoch 3/10" not in resumed.err
    assert "epoch 10/10" in resumed.err

    undisturbed = outnumbered(*arguments, "--no-cache")
    assert "epoch 1/10" in undisturbed.err
    assert undisturbed.json["metrics"] == resumed.json["metrics"]
    first, second = trained_variables(output)
    assert first == second
