"""Errors of the connection with an engine of Beam, most of them before anything starts."""

import socket
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline import engine, local
from pipeline.local import RunError
from pipeline.settings import Beam, load, preset_path

EXTERNAL = ("--environment_type=EXTERNAL", "--environment_config=localhost:50000")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that listens and never answers."""
    with socket.create_server(("localhost", 0)) as server:
        yield f"localhost:{server.getsockname()[1]}"


@pytest.fixture
def closed(silent: str) -> str:
    """An address at which nothing listens."""
    with socket.create_server(("localhost", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("runner", "name", "scheme"),
    [
        ("PortableRunner", "job_endpoint", ""),
        ("FlinkRunner", "job_endpoint", ""),
        ("FlinkRunner", "flink_master", "http://"),
        ("SparkRunner", "spark_master_url", "spark://"),
    ],
)
def test_an_address_at_which_nothing_listens_is_named(
    closed: str, silent: str, runner: str, name: str, scheme: str
):
    options = [f"--runner={runner}", "--job_server_java_launcher=true"]
    engine.check([*options, f"--{name}={scheme}{silent}"])
    with pytest.raises(engine.EngineError) as error:
        engine.check([*options, f"--{name}={scheme}{closed}"])
    assert f"--{name} can't be reached from this machine: Connection refused" in str(error.value)
    assert f"Received: '{scheme}{closed}'" in str(error.value)


def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(engine.EngineError, match="--job_endpoint can't be reached"):
        engine.check(["--runner=PortableRunner", "--job_endpoint=no-such-host.invalid:8099"])


def test_java_is_required_only_where_beam_starts_the_job_server(silent: str):
    no_java = "--job_server_java_launcher=no-such-java"
    with pytest.raises(engine.EngineError, match="'no-such-java' was not found"):
        engine.check(["--runner=FlinkRunner", no_java])
    engine.check(["--runner=FlinkRunner", no_java, f"--job_endpoint={silent}"])
    engine.check(["--runner=FnApiRunner", no_java])


def test_a_run_ends_before_it_has_begun_if_the_job_server_can_not_be_reached(
    tmp_path: Path, closed: str
):
    settings = load(preset_path("notebook_cnn"))
    portable = Beam(runner="PortableRunner", options=[f"--job_endpoint={closed}", *EXTERNAL])
    with pytest.raises(RunError, match="--job_endpoint can't be reached"):
        local.run(settings.model_copy(update={"beam": portable}), tmp_path, data_version="")
    assert not [*tmp_path.iterdir()]


def test_a_job_server_that_does_not_answer_is_named(silent: str):
    options = [
        *("--runner=PortableRunner", f"--job_endpoint={silent}", "--job_server_timeout=1"),
        *(*EXTERNAL, "--sdk_container_image=none"),
    ]
    with (
        pytest.raises(engine.EngineError) as error,
        engine.reported(options),
        beam.Pipeline(options=PipelineOptions(options)) as pipeline,
    ):
        _ = pipeline | beam.Create([1])
    assert str(error.value) == (
        f"Beam's job server at {silent} (--job_endpoint) did not answer; start it, or correct the "
        "address in beam.options"
    )
    assert local.root_message(error.value) == str(error.value)


def test_an_error_of_an_engine_that_no_pool_was_found_for_names_the_pool():
    text = (
        "Pipeline 1 failed in state FAILED: io.grpc.StatusRuntimeException: UNAVAILABLE: io error"
    )
    hint = engine.described(RuntimeError(text), ["--runner=FlinkRunner", *EXTERNAL])
    assert hint.startswith(text)
    assert "a worker pool listens where the engine looks for it" in hint
    assert "--environment_config=localhost:50000" in hint
    assert not engine.described(RuntimeError(text), ["--runner=FlinkRunner"])


@pytest.mark.parametrize(
    "text",
    [
        "Pipeline 1 failed in state FAILED: Traceback (most recent call last):\n"
        "ConnectionError: the store refused the connection: Connection refused",
        "split 'train' asks for 30 of class 'dogs', 12 are left",
    ],
)
def test_what_a_worker_says_of_a_failed_job_is_not_changed(text: str):
    error = RuntimeError(text)
    with (
        pytest.raises(RuntimeError) as caught,
        engine.reported(["--runner=FlinkRunner", *EXTERNAL]),
    ):
        raise error
    assert caught.value is error


def test_a_job_server_that_does_not_start_and_one_that_gives_no_reason_are_told():
    options = ["--runner=SparkRunner"]
    error = RuntimeError("Service failed to start up with error 1")
    assert "SparkRunner could not start Beam's job server" in engine.described(error, options)
    error = RuntimeError("Pipeline a-1 failed in state FAILED: unknown error")
    assert "its own log has one" in engine.described(error, options)


def test_a_connection_that_fails_names_the_server_and_what_to_do(closed: str):
    options = ["--runner=PortableRunner", f"--job_endpoint={closed}"]
    with (
        pytest.raises(engine.EngineError) as error,
        engine.reported(options),
        grpc.insecure_channel(closed) as channel,
    ):
        channel.unary_unary("/beam/Run")(b"")
    assert f"job server at {closed} (--job_endpoint) failed: UNAVAILABLE" in str(error.value)
    assert "Its log says why. What is finished is kept: repeat the command" in str(error.value)
