"""The options of Beam's runners: what a runner can't do without is said before anything starts."""

import pytest

from pipeline.beam_options import beam_args, image_workers
from pipeline.preflight import check_beam
from pipeline.settings import Beam, SettingsError, parse_as

IMAGE = "--sdk_container_image=registry.example/outnumbered:1"
DATAFLOW = ["--project=p", "--region=europe-west4", "--temp_location=gs://bucket/temp", IMAGE]


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
        ("DataflowRunner", DATAFLOW),
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
    ],
)
def test_options_that_a_runner_can_not_use_are_named(runner: str, options: list[str], message: str):
    with pytest.raises(SettingsError) as error:
        parse_as(Beam, {"runner": runner, "options": options}, origin="x")
    assert message in str(error.value)


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
    assert beam_args("FlinkRunner", options)[-1] == expected


def test_an_image_or_a_package_of_the_user_is_kept():
    assert beam_args("FlinkRunner", [IMAGE]) == ["--runner=FlinkRunner", IMAGE]


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
