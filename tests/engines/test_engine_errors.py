"""What the user of a run is told when a job fails on an engine, here on Prism."""

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from prism_process import running_prism

from pipeline import engine
from pipeline.local import root_message

UNREACHABLE_POOL = "localhost:1"


def refuse(number: int) -> None:
    raise ValueError(f"image {number} can't be read; remove it")


def run(*options: str) -> None:
    given = ["--runner=PortableRunner", "--sdk_container_image=none", *options]
    with engine.reported(given), beam.Pipeline(options=PipelineOptions(given)) as pipeline:
        _ = pipeline | beam.Create([7]) | beam.Map(refuse)


def test_a_job_that_fails_on_a_worker_is_told_with_the_workers_own_message(prism: str):
    with pytest.raises(RuntimeError) as error:
        run(f"--job_endpoint={prism}", "--environment_type=LOOPBACK")
    assert root_message(error.value) == "image 7 can't be read; remove it"


def test_a_worker_pool_that_can_not_be_reached_is_named(tmp_path: Path):
    # It ends this Prism, so that it must be another one than that of the other tests.
    with running_prism(tmp_path / "log") as address, pytest.raises(engine.EngineError) as error:
        run(
            *(f"--job_endpoint={address}", "--environment_type=EXTERNAL"),
            f"--environment_config={UNREACHABLE_POOL}",
        )
    message = root_message(error.value)
    assert f"Beam's job server at {address}" in message
    assert f"--environment_config={UNREACHABLE_POOL}" in message
    assert "Traceback" not in message
