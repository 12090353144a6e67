"""The Beam components on Prism, whose workers are other processes: the outputs are the same."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from chain import Chain, write_model, write_photos
from worker_pool import Pool, Process

PROCESSES = 2


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    from components.image_example_gen import parts
    from pipeline.batch import job

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts, "_SHARD_IMAGES", 12)
        patched.setattr(job, "_SHARD_IMAGES", 12)
        yield


@pytest.fixture(scope="module")
def root(prism: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a model and the outputs of all runs."""
    folder = tmp_path_factory.mktemp("root")
    write_photos(folder / "photos")
    write_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def in_process(root: Path) -> dict[str, Any]:
    options = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    return Chain(root / "in-process", options).run(root / "photos", root / "model")


@pytest.fixture(scope="module")
def pool(prism: str, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("workers")
    started = Pool([Process(folder / str(number), root) for number in range(PROCESSES)])
    yield started
    started.stop()


@pytest.fixture
def on_pool(prism: str, pool: Pool) -> Iterator[list[str]]:
    """Beam's options for the pool, which has no faults."""
    yield [
        *("--runner=PortableRunner", f"--job_endpoint={prism}", "--sdk_container_image=none"),
        *("--environment_type=EXTERNAL", f"--environment_config={pool.endpoint}"),
    ]
    pool.fault = lambda attempt, process: False


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["files"] == expected["files"]
    assert found["statistics"] == expected["statistics"]
    assert found["metrics"] == expected["metrics"]
    assert found["rows"] == expected["rows"]
    for split, examples in expected["features"].items():
        assert len(found["features"][split]) == len(examples) > 0
        for one, other in zip(found["features"][split], examples, strict=True):
            assert_same_features(one, other)


def assert_same_features(one: Any, other: Any) -> None:
    # A network's last digits depend on the other images of a batch.
    first, second = (
        np.frombuffer(each.features.feature["features"].bytes_list.value[0], np.float16)
        for each in (one, other)
    )
    np.testing.assert_allclose(first, second, rtol=2e-3, atol=1e-4)
    del one.features.feature["features"], other.features.feature["features"]
    assert one == other


def test_processes_of_which_each_bundle_fails_once_give_what_one_process_gives(
    root: Path, pool: Pool, on_pool: list[str], in_process: dict[str, Any]
):
    pool.fault = lambda attempt, process: attempt == 1
    found = Chain(root / "prism", on_pool).run(root / "photos", root / "model")
    assert_same(found, in_process)
    assert all(pool.bundles[number] for number in range(PROCESSES))
    assert pool.repeated >= sum(pool.bundles.values())


def test_nothing_is_lost_with_processes_that_are_killed(
    root: Path, pool: Pool, on_pool: list[str], in_process: dict[str, Any]
):
    finished: list[Process] = []

    def kill(attempt: int, process: Process) -> bool:
        finished.append(process)
        if len(finished) not in (2, 4):
            return False
        process.kill()
        return True

    pool.fault = kill
    chain = Chain(root / "killed", on_pool)
    chain.ingest(root / "photos")
    chain.sample()
    assert len(finished) >= 4
    expected = in_process["files"]
    found = chain.files("examples", "quarantine", "drawn_examples", "sampling")
    assert found == {name: expected[name] for name in found}


def test_workers_in_the_process_that_starts_the_job_give_the_same(
    root: Path, prism: str, in_process: dict[str, Any]
):
    options = [
        *("--runner=PortableRunner", f"--job_endpoint={prism}", "--sdk_container_image=none"),
        "--environment_type=LOOPBACK",
    ]
    rows = Chain(root / "loopback", options).predict(root / "photos", root / "model")
    assert rows == in_process["rows"]


def test_the_processes_see_no_other_folder_than_the_pipeline_root(
    root: Path, pool: Pool, on_pool: list[str], tmp_path: Path
):
    if not all(process.is_isolated for process in pool.processes):
        pytest.skip(
            "the temporary folder can't be hidden from a process without the right to mount"
        )
    (tmp_path / "other").touch()
    with beam.Pipeline(argv=on_pool) as pipeline:
        _ = (
            pipeline
            | beam.Create([str(tmp_path / "other"), str(root / "photos")])
            | beam.Map(lambda path: (os.path.basename(path), os.path.exists(path)))
            | beam.Map(lambda seen: (root / f"{seen[0]}-{seen[1]}").touch())
        )
    assert (root / "photos-True").exists()
    assert (root / "other-False").exists()
