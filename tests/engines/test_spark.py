"""Spark, by Beam's job server: the options that Beam reads, and, with its jar, the components."""

from pathlib import Path

from apache_beam.options.pipeline_options import PortableOptions, SparkRunnerOptions
from java_engines import assert_same_as_in_process, environment, jar, job_server_command, parsed

POOL = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
CLUSTER = "--spark_master_url=spark://spark:7077"


def test_beam_reads_the_options_that_the_settings_accept():
    found = parsed("SparkRunner", [CLUSTER, "--spark_version=3", *POOL])
    spark = found.view_as(SparkRunnerOptions)
    assert (spark.spark_master_url, spark.spark_version) == ("spark://spark:7077", "3")
    assert found.view_as(PortableOptions).environment_config == "localhost:50000"


def test_the_job_server_that_beam_starts_is_the_driver_of_the_cluster(tmp_path: Path):
    java, *command = job_server_command("SparkRunner", tmp_path, [CLUSTER, *POOL])
    assert java == "java"
    assert command[command.index("-jar") + 1] == str(tmp_path / "job-server.jar")
    assert command[command.index("--spark-master-url") + 1] == "spark://spark:7077"
    # Java 17 refuses Spark's serialization otherwise.
    assert "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED" in command


def test_without_a_cluster_the_workers_are_in_this_process_and_with_one_as_the_options_say():
    local = environment("SparkRunner", ["--spark_master_url=local[2]"])
    assert type(local).__name__ == "PythonLoopbackEnvironment"
    pool = environment("SparkRunner", [CLUSTER, *POOL])
    assert pool.url == "localhost:50000"
    assert not pool._artifacts


def test_the_components_on_spark_give_what_one_process_gives(tmp_path: Path):
    program = jar("OUTNUMBERED_SPARK_JAR")
    assert_same_as_in_process(
        tmp_path,
        [
            *("--runner=SparkRunner", "--spark_master_url=local[2]"),
            f"--spark_job_server_jar={program}",
        ],
    )
