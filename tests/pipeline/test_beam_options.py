"""The options of Beam's runners: what a runner can't do without is said before anything starts."""

from argparse import ArgumentParser

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, SetupOptions
from apache_beam.runners.runner import create_runner

from pipeline import beam_options
from pipeline.beam_options import beam_args, image_workers
from pipeline.preflight import check_beam
from pipeline.settings import Beam, SettingsError, parse_as

IMAGE = "--sdk_container_image=registry.example/outnumbered:1"
DATAFLOW = [
    "--project=my-project",
    "--region=europe-west4",
    "--temp_location=gs://bucket/temp",
    IMAGE,
]


@pytest.mark.parametrize(
    ("runner", "options"),
    [
        ("FnApiRunner", ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]),
        ("PrismRunner", []),
        ("PortableRunner", ["--job_endpoint=localhost:8073", "--environment_type=LOOPBACK"]),
        ("PortableRunner", ["--job_endpoint", "localhost:8073", "--environment_type", "loopback"]),
        ("PortableRunner", ["--job_endpoint=jobs:8099", IMAGE]),
        ("FlinkRunner", []),
        (
            "FlinkRunner",
            [
                *("--flink_master=flink:8081", "--environment_type=EXTERNAL"),
                *("--environment_config=localhost:50000", "--parallelism=8"),
            ],
        ),
        ("SparkRunner", ["--spark_master_url=spark://spark:7077", IMAGE]),
        ("FlinkRunner", ["--flink_master=[::1]:8081", "--environment_type=LOOPBACK"]),
        (
            "FlinkRunner",
            [
                *("--job_endpoint=jobs:8099", "--artifact_endpoint=jobs:8098"),
                *("--environment_type=EXTERNAL", "--flink_version=1.20", "--max_parallelism=64"),
                *("--environment_option=external_service_address=localhost:50000",),
                *("--environment_option=other=1", "--checkpointing_interval=1000"),
            ],
        ),
        ("SparkRunner", ["--spark_master_url=local[2]", "--environment_type=LOOPBACK"]),
        ("DataflowRunner", DATAFLOW),
        (
            "DataflowRunner",
            [
                *(*DATAFLOW, "--worker_machine_type=n2-standard-8", "--max_num_workers=20"),
                "--service_account_email=steps@my-project.iam.gserviceaccount.com",
            ],
        ),
        ("mine.runners.OwnRunner", ["--anything"]),
    ],
)
def test_options_that_a_runner_can_use(runner: str, options: list[str]):
    assert parse_as(Beam, {"runner": runner, "options": options}, origin="x").options == options


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        ("FlinkRuner", [], "did you mean FlinkRunner"),
        ("FnApiRunner", ["direct_num_workers=2"], "as --name=value"),
        ("FnApiRunner", ["--direct_num_workers=many"], "--direct_num_workers must be a whole"),
        ("PrismRunner", ["--prism_location=/no/prism"], "--prism_location must be the program"),
        ("PortableRunner", [], "must contain --job_endpoint for PortableRunner"),
        ("PortableRunner", ["--job_endpoint=localhost"], "--job_endpoint must be host:port"),
        ("PortableRunner", ["--job_endpoint=a:1"], "must contain --sdk_container_image=IMAGE"),
        (
            "PortableRunner",
            ["--job_endpoint=a:1", "--environment_type=EXTERNAL"],
            "must contain --environment_config for --environment_type=EXTERNAL",
        ),
        (
            "FlinkRunner",
            ["--environment_type=KUBERNETES"],
            "--environment_type must be one of DOCKER, EXTERNAL, LOOPBACK, PROCESS",
        ),
        ("FlinkRunner", ["--flink_master=flink"], "--flink_master must be host:port"),
        ("FlinkRunner", ["--flink_master=flink:8081"], "--sdk_container_image=IMAGE for Flink"),
        ("FlinkRunner", ["--parallelism=all"], "--parallelism must be a whole number"),
        ("SparkRunner", ["--spark_master_url=spark"], "--spark_master_url must be local[N]"),
        ("DataflowRunner", DATAFLOW[1:], "must contain --project for DataflowRunner"),
        ("DataflowRunner", DATAFLOW[:-1], "must contain --sdk_container_image=IMAGE for Data"),
        (
            "DataflowRunner",
            [*DATAFLOW, "--temp_location=/tmp"],
            "--temp_location must start with gs://",
        ),
        ("DataflowRunner", [*DATAFLOW, "--region=Europe"], "must have the form of europe-west4"),
        ("DataflowRunner", [*DATAFLOW, "--project=My Project"], "--project must have the form"),
        ("DataflowRunner", [*DATAFLOW, "--service_account_email=me"], "--service_account_email"),
        ("DataflowRunner", [*DATAFLOW, "--worker_machine_type=large"], "n2-standard-8"),
        ("FlinkRunner", ["--paralelism=8"], "Beam does not know; did you mean --parallelism"),
        ("PortableRunner", ["--job-endpoint=a:1"], "did you mean --job_endpoint"),
        ("FlinkRunner", ["--flink_version=1.18"], "--flink_version must be one of 1.19, 1.20, 2.0"),
        ("FlinkRunner", ["--flink_job_server_jar=/no.jar"], "must be the file or the URL"),
        ("SparkRunner", ["--spark_job_server_jar=/no.jar"], "Received: '/no.jar'"),
        (
            "SparkRunner",
            ["--spark_submit_uber_jar", "--environment_type=LOOPBACK"],
            "must contain --spark_rest_url for --spark_submit_uber_jar",
        ),
        (
            "PortableRunner",
            ["--job_endpoint=a:1", "--artifact_endpoint=a", IMAGE],
            "--artifact_endpoint must be host:port",
        ),
        (
            "FlinkRunner",
            ["--flink_master=flink:8081", "--environment_type=LOOPBACK"],
            "--flink_master on another machine, which can't reach workers in this process",
        ),
        (
            "PortableRunner",
            ["--job_endpoint=jobs:8099", "--environment_type=LOOPBACK"],
            "Received: 'jobs:8099'",
        ),
        (
            "SparkRunner",
            ["--spark_master_url=spark://spark:7077", "--environment_type=LOOPBACK"],
            "--environment_type=EXTERNAL with a worker pool",
        ),
    ],
)
def test_options_that_a_runner_can_not_use_are_named(runner: str, options: list[str], message: str):
    with pytest.raises(SettingsError) as error:
        parse_as(Beam, {"runner": runner, "options": options}, origin="x")
    assert message in str(error.value)


def test_no_option_of_beam_is_taken_for_a_misspelt_one():
    parser = ArgumentParser(allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        if options.__module__ == PipelineOptions.__module__:
            options._add_argparse_args(parser)
    of_beam = {name for action in parser._actions for name in action.option_strings} - {"-h"}
    assert len(of_beam) > 100
    for name in of_beam:
        beam_options._check_spelling(name.removeprefix("--"))
    assert {f"--{name}" for name in beam_options._NAMES} <= of_beam


def test_the_versions_of_engines_are_those_of_beam():
    assert beam_options._CHOICES["flink_version"] == (*FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS,)


def test_dataflow_is_refused_where_the_outputs_are_in_a_folder():
    with pytest.raises(ValueError, match=r"beam\.runner must not be DataflowRunner"):
        check_beam(parse_as(Beam, {"runner": "DataflowRunner", "options": DATAFLOW}, origin="x"))


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (["--environment_type=EXTERNAL", "--environment_config=localhost:50000"], "none"),
        (["--environment_type=DOCKER", "--environment_config=registry.example/image:1"], None),
    ],
)
def test_tfx_builds_no_package_of_itself_for_workers(options: list[str], image: str | None):
    expected = f"--sdk_container_image={image or 'registry.example/image:1'}"
    assert expected in beam_args("FlinkRunner", options)


def test_an_image_or_a_package_of_the_user_is_kept():
    package = "--setup_file=setup.py"
    assert beam_args("FnApiRunner", [package]) == ["--runner=FnApiRunner", package]


@pytest.mark.parametrize(
    ("runner", "options", "workers", "expected"),
    [
        ("FnApiRunner", [], "auto", "auto"),
        ("FnApiRunner", [], 3, "3"),
        ("FnApiRunner", ["--direct_num_workers=2"], "auto", "1"),
        ("FlinkRunner", ["--flink_master=[local]"], "auto", "1"),
        ("FlinkRunner", ["--flink_master=[local]"], 2, "2"),
    ],
)
def test_images_are_decoded_in_several_processes_unless_the_runner_has_several_workers(
    runner, options, workers, expected
):
    assert image_workers(runner, options, workers) == f"--image_workers={expected}"


@pytest.mark.parametrize(
    ("runner", "options"),
    [
        ("PortableRunner", ["--job_endpoint=jobs:8099", IMAGE]),
        ("FlinkRunner", ["--flink_master=flink:8081", IMAGE]),
        ("SparkRunner", ["--spark_master_url=spark://spark:7077", IMAGE]),
        ("FlinkRunner", ["--environment_type=DOCKER", IMAGE]),
        (
            "FlinkRunner",
            [
                "--environment_type=DOCKER",
                "--environment_options=docker_container_image=registry.example/outnumbered:1",
            ],
        ),
    ],
)
def test_containers_are_of_the_image_of_the_steps(runner: str, options: list[str]):
    found = PipelineOptions(beam_args(runner, options))
    environment = create_runner(runner).default_environment(found)
    assert environment.container_image == "registry.example/outnumbered:1"


@pytest.mark.parametrize(
    ("runner", "options", "imported"),
    [
        ("FlinkRunner", ["--flink_master=flink:8081", IMAGE], True),
        (
            "FlinkRunner",
            ["--environment_type=PROCESS", '--environment_config={"command": "/opt/boot"}'],
            True,
        ),
        ("DataflowRunner", DATAFLOW, True),
        ("FlinkRunner", [], False),
        ("FnApiRunner", [], False),
        ("PrismRunner", [], False),
    ],
)
def test_workers_that_an_engine_starts_import_what_is_to_be_first(
    runner: str, options: list[str], imported: bool
):
    found = PipelineOptions(beam_args(runner, options)).view_as(SetupOptions).beam_plugins
    assert found == (["pipeline.worker_setup"] if imported else None)
