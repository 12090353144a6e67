"""The entrypoint of a step, in a separate process with a small executor."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launcher import PROJECT

from components import names
from pipeline.kubeflow.entrypoint import figures_of_the_report
from pipeline.tfx_on_kubeflow import entrypoint
from pipeline.tfx_on_kubeflow.entrypoint import EntrypointError

EXECUTOR = """
import json, pathlib
from tfx.dsl.components.base.base_executor import BaseExecutor

class Executor(BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        (examples,), (model,) = input_dict["examples"], output_dict["model"]
        seen = {
            "type": type(examples).__name__,
            "uri": examples.uri,
            "split_names": examples.split_names,
            "span": examples.span,
            "payload_format": examples.get_string_custom_property("payload_format"),
            "blessed": examples.get_int_custom_property("blessed"),
            "properties": exec_properties,
            "given_uri": examples.get_string_custom_property("given_uri"),
        }
        pathlib.Path(model.uri, "seen.json").write_text(json.dumps(seen))
        model.set_string_custom_property("base", examples.uri)
        model.set_int_custom_property("layers", 3)
        if exec_properties["fail"] == "wait":
            import subprocess, time
            child = subprocess.Popen(["sleep", "1000"])
            print("waiting", child.pid, flush=True)
            time.sleep(1000)
        if exec_properties["fail"] == "exit":
            raise SystemExit(0)
        if exec_properties["fail"] == "ours":
            from components.messages import InputError
            raise InputError("asked to fail in words;\\nask for less. Received: 'ours'")
        if exec_properties["fail"] == "damaged":
            raise ValueError(f"damaged: {examples.uri}/x")
        if exec_properties["fail"]:
            raise ValueError("asked to fail")
        import threading
        threading.Thread(target=threading.Event().wait).start()
"""
INPUTS_SPEC = {
    "parameters": {
        "epochs": {"parameterType": "NUMBER_INTEGER"},
        "rate": {"parameterType": "NUMBER_DOUBLE"},
        "fail": {"parameterType": "STRING"},
    }
}
TYPES = {
    "examples": "tfx.types.standard_artifacts.Examples",
    "model": "tfx.types.standard_artifacts.Model",
}


def invocation(root: Path, *, fail: str = "") -> dict[str, Any]:
    """An ExecutorInput as the launcher writes it: inputs without types, all numbers floats."""
    logs = {"artifacts": [{"name": "executor-logs", "uri": "s3://bucket/root/step/1/logs"}]}
    model = {"name": "model", "uri": "s3://bucket/root/step/1/model"}
    metadata = {
        "split_names": '["all"]',
        "span": 7.0,
        "payload_format": "FORMAT_TF_EXAMPLE",
        "blessed": 1.0,
        "display_name": "examples",
        "store_session_info": "{}",
    }
    examples = {"name": "12", "uri": "s3://bucket/root/gen/0/examples", "metadata": metadata}
    return {
        "inputs": {
            "parameterValues": {"epochs": 3.0, "rate": 1, "fail": fail},
            "artifacts": {"examples": {"artifacts": [examples]}},
        },
        "outputs": {
            "artifacts": {
                "model": {"artifacts": [{**model, "type": {"schemaTitle": "system.Model"}}]},
                "executor-logs": logs,
            },
            "outputFile": str(root / "s3/bucket/root/step/1/output_metadata.json"),
        },
    }


def start(folder: Path, **how: Any) -> subprocess.Popen[str]:
    (folder / "small_executor.py").write_text(EXECUTOR)
    (folder / "termination-log").touch()
    arguments = {
        "--executor_class_path": "small_executor.Executor",
        "--json_serialized_invocation_args": json.dumps(invocation(folder, **how)),
        "--json_serialized_inputs_spec_args": json.dumps(INPUTS_SPEC),
        "--artifact_types": json.dumps(TYPES),
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.kubeflow.entrypoint"),
            *(text for pair in arguments.items() for text in pair),
            "--runner=FnApiRunner",
        ],
        env={
            "PYTHONPATH": f"{PROJECT}:{folder}",
            "OUTNUMBERED_LAUNCHER_ROOT": str(folder),
            "OUTNUMBERED_TERMINATION_LOG": str(folder / "termination-log"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    process = start(folder, **how)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pod")


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder)


def test_a_step_ends_although_one_of_its_threads_does_not(done: subprocess.CompletedProcess[str]):
    assert done.returncode == 0, done.stderr


def test_an_executor_sees_tfx_artifacts_at_the_launchers_paths(done: Any, folder: Path):
    seen = json.loads((folder / "s3/bucket/root/step/1/model/seen.json").read_text())
    assert seen == {
        "type": "Examples",
        "uri": str(folder / "s3/bucket/root/gen/0/examples"),
        "split_names": '["all"]',
        "span": 7,
        "payload_format": "FORMAT_TF_EXAMPLE",
        "blessed": 1,
        "properties": {"epochs": 3, "rate": 1, "fail": ""},
        "given_uri": "s3://bucket/root/gen/0/examples",
    }


def test_the_output_file_has_the_properties_and_uris(done: Any, folder: Path):
    written = json.loads((folder / "s3/bucket/root/step/1/output_metadata.json").read_text())
    (model,) = written["artifacts"].pop("model")["artifacts"]
    assert written == {"artifacts": {}}
    assert model["uri"] == "s3://bucket/root/step/1/model"
    assert model["metadata"]["layers"] == 3
    assert model["metadata"]["base"] == "s3://bucket/root/gen/0/examples"
    assert "tfx_version" in model["metadata"]
    assert "given_uri" not in model["metadata"]


def test_a_file_that_was_compiled_without_the_run_page_s_figures_gets_none(tmp_path: Path):
    """As that of an earlier release, or for Vertex AI."""
    step = entrypoint.parse(
        [
            *("--executor_class_path", "a.B", "--artifact_types", "{}"),
            *("--json_serialized_invocation_args", json.dumps(invocation(tmp_path))),
        ]
    )
    assert figures_of_the_report(step, {names.REPORT: []}) == {}
    assert figures_of_the_report(step, {names.MODEL: []}) == {}


@pytest.mark.parametrize(
    ("fail", "last_line"),
    [
        ("yes", "step failed: ValueError: asked to fail; read the traceback in the step's log"),
        ("ours", "step failed: asked to fail in words; ask for less. Received: 'ours'"),
        ("exit", "step failed: SystemExit: 0; read the traceback in the step's log"),
        (
            "damaged",
            "step failed: ValueError: damaged: s3://bucket/root/gen/0/examples/x; read the "
            "traceback in the step's log",
        ),
    ],
)
def test_a_failed_executor_fails_the_step_in_words_and_writes_no_output_file(
    fail: str, last_line: str, tmp_path: Path
):
    done = run(tmp_path, fail=fail)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == last_line
    assert (tmp_path / "termination-log").read_text() == last_line
    assert not (tmp_path / "s3/bucket/root/step/1/output_metadata.json").exists()


def test_a_stopped_pod_says_so_and_leaves_no_process_and_no_output_file(tmp_path: Path):
    process = start(tmp_path, fail="wait")
    assert process.stdout is not None
    word, child = process.stdout.readline().split()
    assert word == "waiting"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "SIGTERM was received; if this step is retried, a training resumes" in err
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (tmp_path / "termination-log").read_text()
    assert not (tmp_path / "s3/bucket/root/step/1/output_metadata.json").exists()
    status = Path(f"/proc/{child}/stat")
    assert not status.exists() or " Z " in status.read_text()


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a/b", "/gcs/bucket/a/b"),
        ("s3://bucket/a/b", "/s3/bucket/a/b"),
        ("minio://bucket/a/b", "/minio/bucket/a/b"),
    ],
)
def test_uris_are_mapped_to_the_launcher_s_folders(
    uri: str, path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(entrypoint.ROOT_VARIABLE, raising=False)
    assert entrypoint.local_path(uri) == path


def test_a_uri_of_another_scheme_is_rejected():
    with pytest.raises(EntrypointError, match=r"Received: 'hdfs://cluster/a'"):
        entrypoint.local_path("hdfs://cluster/a")


def test_a_wrong_command_line_is_told_in_words(tmp_path: Path, monkeypatch, capsys):
    message = tmp_path / "termination-log"
    message.touch()
    monkeypatch.setenv("OUTNUMBERED_TERMINATION_LOG", str(message))
    arguments = ["--executor_class_path=a.B", "--json_serialized_invocation_args={{$}}"]
    assert entrypoint.run([*arguments, "--artifact_types={}"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == message.read_text()
    assert line.startswith("the step failed: argument --json_serialized_invocation_args: invalid")
    assert "compile the pipeline again" in line
