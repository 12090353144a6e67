"""The commands `outnumbered kubeflow …` against a server: their output and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp_samples import IMAGE, write_package, write_settings
from kfp_server import KfpServer
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.kubeflow import transport

CRON = "0 0 3 * * *"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_package(tmp_path_factory.mktemp("package") / "pipeline.yaml"))


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


@pytest.fixture
def settings(server, tmp_path) -> Path:
    return write_settings(tmp_path, host=server.url, schedule={"cron": CRON})


def photos(folder: Path) -> None:
    """Eight cats and four dogs in the folder of the settings."""
    for class_name, count in (("cats", 8), ("dogs", 4)):
        (folder / "photos" / class_name).mkdir(parents=True)
        for index in range(count):
            picture = Image.new("RGB", (8, 8), (index, 0, 0))
            picture.save(folder / "photos" / class_name / f"{index}.png")


def run(settings: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["kubeflow", *arguments, "--settings", str(settings)])


def answer(result: Result) -> dict:
    """The one JSON object on standard output."""
    assert result.stdout.count("\n") == 1, result.stdout
    return json.loads(result.stdout)


def refused(result: Result, code: int, *parts: str) -> None:
    message = " ".join(result.stderr.split())
    assert result.exit_code == code, message
    for part in ("error: ", *parts):
        assert part in message


def submit(settings: Path, package: str, *arguments: str) -> Result:
    return run(settings, "submit", "--package", package, "--poll", "0.05", *arguments)


def apply(settings: Path, package: str, *arguments: str) -> Result:
    return run(settings, "schedule", "apply", "--package", package, "--poll", "0.05", *arguments)


def test_submit_starts_a_run_and_prints_its_url(server, settings, package):
    result = submit(settings, package, "--param", "epochs=3")
    assert result.exit_code == 0, result.output
    (started,) = server.all("runs")
    assert started["runtime_config"]["parameters"] == {"epochs": 3}
    assert f"{server.url}/#/runs/details/{started['run_id']}" in result.stdout


@pytest.mark.parametrize(("state", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_submit_with_wait_ends_with_the_result_of_the_run(server, settings, package, state, code):
    server.states = ["RUNNING", state]
    result = submit(settings, package, "--wait", "--json")
    assert result.exit_code == code
    printed = answer(result)
    assert printed["run"]["state"] == state
    assert printed["status"] == ("failed" if code else "done")
    assert "RUNNING (Trainer)" in result.stderr


def test_submit_sends_the_digest_of_the_images(server, settings, package, tmp_path):
    photos(tmp_path)
    first = answer(submit(settings, package, "--json"))["run"]["parameters"]["data_version"]
    again = answer(submit(settings, package, "--json"))["run"]["parameters"]["data_version"]
    (tmp_path / "photos" / "dogs" / "0.png").unlink()
    changed = answer(submit(settings, package, "--json"))["run"]["parameters"]["data_version"]
    assert len(first) == 64
    assert first == again != changed


def test_a_data_version_in_param_is_sent_unchanged(server, settings, package, tmp_path):
    photos(tmp_path)
    submit(settings, package, "--param", "data_version=mine")
    assert server.all("runs")[0]["runtime_config"]["parameters"] == {"data_version": "mine"}


def test_images_that_only_the_cluster_can_list_are_no_error(server, settings, package):
    result = submit(settings, package, "--json")
    assert result.exit_code == 0
    assert "can't be listed from here" in answer(result)["note"]


def test_images_that_contradict_the_settings_are_rejected_before_any_request(
    server, settings, package, tmp_path
):
    photos(tmp_path)
    (tmp_path / "photos" / "dogs").rename(tmp_path / "photos" / "Dogs")
    refused(submit(settings, package), 2, "Received: 'dogs'", "did you mean 'Dogs'")
    assert server.requests == []


def test_splits_larger_than_the_data_are_rejected_before_any_request(
    server, settings, package, tmp_path
):
    photos(tmp_path)
    override = ("--set", "sampler.splits.train.dogs=30")
    refused(submit(settings, package, *override), 2, "asks for 30 of class 'dogs'")
    assert server.requests == []


def test_an_invalid_parameter_is_rejected_before_any_request(server, settings, package):
    refused(submit(settings, package, "--param", "epoch=3"), 2, "did you mean 'epochs'")
    assert server.requests == []


def test_a_schedule_is_created_once_and_described_in_words(server, settings, package):
    result = apply(settings, package)
    assert result.exit_code == 0, result.output
    assert "created" in result.stdout
    assert "At 03:00 (UTC)" in result.stdout
    assert result.stdout.count("T03:00:00+00:00") == 5
    printed = answer(apply(settings, package, "--json"))
    assert printed["action"] == "unchanged"
    assert len(printed["schedule"]["next"]) == 5
    assert len(server.all("recurringruns")) == 1


def test_a_schedule_that_differs_waits_for_its_run(server, settings, package):
    apply(settings, package)
    server.states = ["RUNNING", "SUCCEEDED"]
    active = server.tick(server.all("recurringruns")[0]["recurring_run_id"])
    result = apply(settings, package, "--set", "kubeflow.schedule.cron=0 0 4 * * *", "--json")
    assert answer(result)["action"] == "replaced"
    assert active["state"] == "SUCCEEDED"
    assert "active runs of the schedule: 1" in result.stderr


def test_a_run_that_takes_too_long_is_a_failure(server, settings, package):
    apply(settings, package)
    server.states = ["RUNNING"]
    server.tick(server.all("recurringruns")[0]["recurring_run_id"])
    result = apply(settings, package, "--param", "epochs=9", "--timeout", "0")
    refused(result, 1, "--timeout", "--force")
    assert apply(settings, package, "--param", "epochs=9", "--force").exit_code == 0


def test_pause_resume_list_and_delete(settings, package):
    apply(settings, package)
    assert answer(run(settings, "schedule", "pause", "--json"))["action"] == "paused"
    (listed,) = answer(run(settings, "schedule", "list", "--json"))["schedules"]
    assert (listed["enabled"], listed["next"]) == (False, [])
    assert answer(run(settings, "schedule", "resume", "--json"))["action"] == "resumed"
    table = run(settings, "schedule", "list").stdout
    assert "At 03:00 (UTC)" in table
    assert listed["schedule_id"] in table
    assert run(settings, "schedule", "delete", "--poll", "0.05").exit_code == 0
    assert answer(run(settings, "schedule", "list", "--json"))["schedules"] == []
    refused(run(settings, "schedule", "delete"), 1, "no schedule 'cats-vs-dogs'")


@pytest.mark.parametrize(
    ("cron", "parts"),
    [
        ("0 3 * * *", ["six fields", "did you mean '0 0 3 * * *'"]),
        ("0 0 0 L * *", ["kubeflow.schedule.cron", "'L'"]),
    ],
)
def test_an_invalid_cron_is_rejected(settings, package, cron, parts):
    result = apply(settings, package, "--set", f"kubeflow.schedule.cron={cron}")
    refused(result, 2, *parts)


def test_settings_without_a_schedule_are_rejected(settings, package):
    result = apply(settings, package, "--set", "kubeflow.schedule=null")
    refused(result, 2, "kubeflow.schedule is required")


def test_runs_are_listed_shown_and_waited_for(server, settings, package):
    server.states = ["FAILED"]
    submit(settings, package)
    server.states = ["SUCCEEDED"]
    newest = answer(submit(settings, package, "--json"))["run"]["run_id"]
    oldest = server.all("runs")[0]["run_id"]
    listed = answer(run(settings, "runs", "list", "--json"))["runs"]
    assert [one["run_id"] for one in listed] == [newest, oldest]
    assert len(answer(run(settings, "runs", "list", "--limit", "1", "--json"))["runs"]) == 1
    assert newest in run(settings, "runs", "list").stdout
    assert answer(run(settings, "runs", "wait", "--json"))["run"]["run_id"] == newest
    assert run(settings, "runs", "wait", oldest).exit_code == 1
    shown = run(settings, "runs", "show", oldest)
    assert shown.exit_code == 0
    assert "out of memory" in shown.stdout


def test_no_runs_yet(settings):
    assert answer(run(settings, "runs", "list", "--json"))["runs"] == []
    refused(run(settings, "runs", "show"), 2, "no runs yet", "kubeflow submit")


def test_a_run_that_does_not_exist(server, settings):
    refused(run(settings, "runs", "wait", "42"), 1, "get run '42'", "404")


def test_with_json_a_failure_is_one_json_object(server, settings):
    server.fail(403, times=9)
    printed = answer(run(settings, "runs", "list", "--json"))
    assert printed["status"] == "failed"
    assert "403" in printed["error"]


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_an_error_of_the_server_is_a_failure(server, settings, status, package):
    server.fail(status, times=99)
    refused(submit(settings, package), 1, server.url, str(status))


def test_a_server_that_does_not_exist_is_a_failure(tmp_path):
    settings = write_settings(tmp_path, host="http://127.0.0.1:9")
    refused(run(settings, "runs", "list"), 1, "http://127.0.0.1:9", "can't be reached")


def test_settings_without_the_section_are_refused(tmp_path, package):
    settings = write_settings(tmp_path)
    for command in (["submit"], ["schedule", "apply"], ["runs", "list"], ["compile"]):
        refused(run(settings, *command), 2, "the section kubeflow of the settings is required")


def test_settings_for_vertex_are_compiled_only(tmp_path, package):
    settings = write_settings(tmp_path, target="vertex", host="http://localhost")
    refused(submit(settings, package), 2, "kubeflow.target is vertex")


def test_a_file_that_is_no_package_is_rejected(settings, tmp_path):
    (tmp_path / "other.yaml").write_text("name: other")
    refused(submit(settings, str(tmp_path / "other.yaml")), 2, "not a compiled pipeline")


def test_the_command_line_starts_without_kfp(settings):
    script = (
        "import sys; import pipeline.cli; "
        "print([name for name in ('kfp', 'tfx', 'tensorflow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_missing_kfp_is_named(settings):
    script = (
        "import sys; sys.modules['kfp'] = None; sys.argv[0] = 'outnumbered'; "
        "from pipeline.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "kubeflow", "runs", "list", "--settings"]
    ran = subprocess.run([*command, str(settings)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "error: kfp is not installed" in ran.stderr


def test_the_settings_are_compiled_and_submitted(server, settings, tmp_path):
    photos(tmp_path)
    output = tmp_path / "pipeline.yaml"
    volume = "kubeflow.volumes=[{claim: models, path: /models}]"
    registry = ("--set", volume, "--set", "pusher.registry=/models/registry")
    compiled = run(settings, "compile", "-o", str(output), "--json", *registry)
    assert compiled.exit_code == 0, compiled.output
    assert {"source", "span", "epochs", "model", "pipeline_root"} <= set(
        answer(compiled)["parameters"]
    )
    assert IMAGE in output.read_text()
    submitted = run(settings, "submit", "--param", "epochs=1", "--json", *registry)
    assert submitted.exit_code == 0, submitted.output
    (version,) = server.all("versions")
    assert version["display_name"] == answer(submitted)["version"]
    (spec, _) = yaml.safe_load_all(output.read_text())
    assert version["pipeline_spec"]["pipeline_spec"]["pipelineInfo"] == spec["pipelineInfo"]


def test_the_settings_are_compiled_for_vertex_as_json(settings, tmp_path):
    output = tmp_path / "job.json"
    changed = (
        "kubeflow.target=vertex",
        "kubeflow.pipeline_root=gs://bucket/outnumbered",
        "kubeflow.gpu.accelerator=NVIDIA_TESLA_T4",
        "pusher.registry=/gcs/bucket/registry",
    )
    overrides = [option for override in changed for option in ("--set", override)]
    job = run(settings, "compile", "-o", str(output), "--json", *overrides)
    assert answer(job) == {"status": "done", "package": str(output)}
    assert "pipelineSpec" in json.loads(output.read_text())


def test_what_libraries_print_while_they_are_loaded_is_hidden(
    settings, tmp_path, monkeypatch, capfd
):
    def compile_with_noise(_, output: Path, **__: str) -> Path:
        os.write(1, b"noise")
        os.write(2, b"noise")
        return write_package(output)

    monkeypatch.setattr("pipeline.kubeflow.compile.compile_pipeline", compile_with_noise)
    compiled = run(settings, "compile", "-o", str(tmp_path / "pipeline.yaml"), "--json")
    assert answer(compiled)["status"] == "done"
    assert "noise" not in "".join(capfd.readouterr())
