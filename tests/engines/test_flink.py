"""Flink, by Beam's job server: the options that Beam reads, and, with its jar, the components."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions
from java_engines import assert_same_as_in_process, environment, jar, job_server_command, parsed

POOL = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
IMAGE = "registry.example/outnumbered:1"


def test_beam_reads_the_options_that_the_settings_accept():
    options = [
        *("--flink_master=flink:8081", "--flink_version=1.20", "--parallelism=8"),
        *("--max_parallelism=64", *POOL),
    ]
    found = parsed("FlinkRunner", options)
    flink = found.view_as(FlinkRunnerOptions)
    assert (flink.flink_master, flink.flink_version) == ("flink:8081", "1.20")
    assert (flink.parallelism, flink.max_parallelism) == (8, 64)
    portable = found.view_as(PortableOptions)
    assert portable.environment_type == "EXTERNAL"
    assert portable.environment_config == "localhost:50000"


def test_the_job_server_that_beam_starts_submits_to_the_cluster(tmp_path: Path):
    options = ["--flink_master=flink:8081", *POOL]
    java, *command = job_server_command("FlinkRunner", tmp_path, options)
    assert java == "java"
    assert command[:2] == ["-jar", str(tmp_path / "job-server.jar")]
    assert command[command.index("--flink-master") + 1] == "http://flink:8081"


def test_without_a_cluster_the_workers_are_in_this_process_and_with_one_as_the_options_say():
    assert type(environment("FlinkRunner", [])).__name__ == "PythonLoopbackEnvironment"
    pool = environment("FlinkRunner", ["--flink_master=flink:8081", *POOL])
    assert pool.url == "localhost:50000"
    assert not pool._artifacts
    container = environment(
        "FlinkRunner", ["--flink_master=flink:8081", f"--sdk_container_image={IMAGE}"]
    )
    assert container.container_image == IMAGE


@pytest.mark.parametrize("parallelism", [1, 4])
def test_the_components_on_flink_give_what_one_process_gives(tmp_path: Path, parallelism: int):
    program = jar("OUTNUMBERED_FLINK_JAR")
    assert_same_as_in_process(
        tmp_path,
        [
            *("--runner=FlinkRunner", "--flink_master=[local]", f"--parallelism={parallelism}"),
            f"--flink_job_server_jar={program}",
        ],
    )
