"""The engines whose job server is a program in Java, which can't be had on every machine."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.runner import create_runner
from apache_beam.version import __version__

from pipeline.beam_options import beam_args, check


def jar(variable: str) -> str:
    """Returns the path of a job server's jar; skips the test if it is not given."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} is not set to the jar of Beam {__version__}'s job server")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    return path


def parsed(runner: str, options: list[str]) -> PipelineOptions:
    """Returns what Beam makes of the options that the settings accept."""
    check(runner, options)
    return PipelineOptions(beam_args(runner, options))


def environment(runner: str, options: list[str]) -> Any:
    """Returns the environment that Beam gives the workers of a job."""
    return create_runner(runner).default_environment(parsed(runner, options))


def job_server_command(runner: str, folder: Path, options: list[str]) -> list[str]:
    """Returns the command with which Beam would start the job server, with an empty jar."""
    (folder / "job-server.jar").touch()
    name = runner.removesuffix("Runner").lower()
    given = [f"--{name}_job_server_jar={folder / 'job-server.jar'}", f"--artifacts_dir={folder}"]
    found = parsed(runner, [*options, *given])
    assert found.view_as(PortableOptions).job_endpoint is None
    server = create_runner(runner).default_job_server(found)
    started, endpoint = server._job_server.subprocess_cmd_and_endpoint()
    command = [str(each) for each in started]
    assert command[command.index("--job-port") + 1] == endpoint.rpartition(":")[2]
    return command


def assert_same_as_in_process(folder: Path, options: list[str]) -> None:
    """Runs all components with a worker pool on an engine, and in process, and compares."""
    # They import TFX, which takes longer than the other tests.
    import small_network
    from chain import Chain, write_model, write_photos
    from test_chain import assert_same
    from worker_pool import Process, start_warm

    start_warm()
    photos, model = write_photos(folder / "photos"), write_model(folder / "model")
    in_process = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    worker = Process(folder / "worker", folder)
    pool = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{worker.port}"]
    try:
        with pytest.MonkeyPatch.context() as patch:
            small_network.use(patch)  # as the workers do
            expected = Chain(folder / "in-process", in_process).run(photos, model)
            found = Chain(folder / "engine", [*options, *pool, in_process[1]]).run(photos, model)
    finally:
        worker.kill()
    assert_same(found, expected)
