"""The components give the same on engines that repeat bundles and whose workers are killed."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import small_network
from apache_beam.runners.portability.prism_runner import PrismRunner
from chain import Chain, write_model, write_photos
from worker_pool import Fault, Pool, Process, no_fault, start_warm

ROOT = Path(__file__).parents[2]
STEPS = {"Ingest", "Finalize", "Scan", "Place", "Copy", "Store", "Rewrite", "Predict", "Score"}
"""The steps in which the components read images, or write what they found."""
Start = Callable[[int], Pool]


@pytest.fixture(scope="module", autouse=True)
def small_shards_and_network() -> Iterator[None]:
    from components.image_example_gen import parts
    from pipeline.batch import job

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts, "_SHARD_IMAGES", 12)
        patched.setattr(job, "_SHARD_IMAGES", 12)
        small_network.use(patched)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a model and the outputs of all runs."""
    folder = tmp_path_factory.mktemp("root")
    write_photos(folder / "photos")
    write_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> dict[str, Any]:
    """What the components give in one process."""
    options = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    return Chain(root / "in-process", options).run(root / "photos", root / "model")


@pytest.fixture(scope="module")
def start(prism: str, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a pool of a number of processes."""
    start_warm()
    started = []

    def start_pool(processes: int) -> Pool:
        folder = tmp_path_factory.mktemp("workers")
        started.append(Pool([Process(folder / str(each), root) for each in range(processes)]))
        return started[-1]

    yield start_pool
    for pool in started:
        pool.stop()


@pytest.fixture(scope="module")
def pool_of_four(start: Start) -> Pool:
    return start(4)


@pytest.fixture
def four(pool_of_four: Pool) -> Iterator[Pool]:
    """A pool of four processes, without faults again after the test."""
    yield pool_of_four
    pool_of_four.fault = no_fault


@pytest.fixture
def prism_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that Beam's own runner is given during a test."""
    jobs: list[Any] = []
    run = PrismRunner.run_portable_pipeline

    def run_and_note(runner: PrismRunner, *arguments: Any) -> Any:
        jobs.append(arguments)
        return run(runner, *arguments)

    monkeypatch.setattr(PrismRunner, "run_portable_pipeline", run_and_note)
    return jobs


def in_loopback(prism_program: Path) -> list[str]:
    """Options of Beam's own runner, which starts Prism; this process is the worker."""
    options = ["--runner=PrismRunner", f"--prism_location={prism_program}"]
    return [*options, "--sdk_container_image=none"]


def on_pool(prism: str, pool: Pool) -> list[str]:
    return [
        *("--runner=PortableRunner", f"--job_endpoint={prism}", "--sdk_container_image=none"),
        *("--environment_type=EXTERNAL", f"--environment_config={pool.endpoint}"),
    ]


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in expected.keys() - {"features"}:
        assert found[name] == expected[name], name
    for split, examples in expected["features"].items():
        assert len(found["features"][split]) == len(examples) > 0
        for one, other in zip(found["features"][split], examples, strict=True):
            assert_same_features(one, other)


def assert_same_features(one: Any, other: Any) -> None:
    # A network's last digits depend on the other images of a batch.
    first, second = (
        np.frombuffer(each.features.feature["features"].bytes_list.value[0], np.float32)
        for each in (one, other)
    )
    np.testing.assert_allclose(first, second, rtol=2e-3, atol=1e-4)
    assert without_features(one) == without_features(other)


def without_features(example: Any) -> Any:
    copy = type(example)()
    copy.CopyFrom(example)
    del copy.features.feature["features"]
    return copy


def steps_of_the_components() -> set[str]:
    """Returns the names of all steps and DoFns in the code of the components and of batch jobs."""
    step = re.compile(r'"(\w+)"\s*>> beam\.(?:Map|FlatMap|ParDo|CombineGlobally)\(')
    in_for_each = re.compile(r'_for_each\(\s*"(\w+)"')
    function = re.compile(r"class (\w+)\(beam\.DoFn\)")
    found: set[str] = set()
    for folder in ("components", "pipeline"):
        for file in (ROOT / folder).rglob("*.py"):
            for pattern in (step, in_for_each, function):
                found.update(pattern.findall(file.read_text()))
    return found


def test_bundles_that_are_cut_off_or_fail_after_their_work_change_nothing(
    root: Path, undisturbed: dict[str, Any]
):
    from faulty_runner import FaultyRunner

    options = ["--runner=faulty_runner.FaultyRunner", "--sdk_container_image=none"]
    assert_same(Chain(root / "faulty", options).run(root / "photos", root / "model"), undisturbed)
    assert steps_of_the_components() > STEPS
    assert steps_of_the_components() - FaultyRunner.failed == set()
    assert len(FaultyRunner.killed) > len(STEPS)


def kills_once_at(steps: set[str], otherwise: Fault) -> Fault:
    """Returns a fault that kills the process that has first done a step.

    Args:
      steps: each is removed once its process was killed.
      otherwise: the fault of all other bundles.
    """

    def fault(done: set[str], attempt: int, process: Process) -> bool:
        if killed := done & steps:
            steps.difference_update(killed)
            process.lose()
            return True
        return otherwise(done, attempt, process)

    return fault


def test_four_processes_that_are_killed_after_each_step_give_what_one_gives(
    root: Path, prism: str, four: Pool, undisturbed: dict[str, Any]
):
    left = set(STEPS)
    four.fault = kills_once_at(left, otherwise=no_fault)
    found = Chain(root / "killed", on_pool(prism, four)).run(root / "photos", root / "model")
    assert_same(found, undisturbed)
    assert not left
    assert all(four.bundles[number] for number in range(4))
    assert four.repeated >= len(STEPS)


@pytest.mark.engines_check
def test_four_processes_of_which_each_bundle_fails_too_give_what_one_gives(
    root: Path, prism: str, four: Pool, undisturbed: dict[str, Any]
):
    left, before = set(STEPS), four.repeated
    four.fault = kills_once_at(left, otherwise=lambda done, attempt, process: attempt == 1)
    found = Chain(root / "failing", on_pool(prism, four)).run(root / "photos", root / "model")
    assert_same(found, undisturbed)
    assert not left
    assert four.repeated - before > 50


@pytest.mark.engines_check
def test_one_process_gives_what_is_given_in_process(
    root: Path, prism: str, start: Start, undisturbed: dict[str, Any]
):
    one = start(1)
    found = Chain(root / "one", on_pool(prism, one)).run(root / "photos", root / "model")
    assert_same(found, undisturbed)
    assert one.bundles[0] > 50


def test_workers_in_the_process_that_starts_prism_give_the_same_images_and_rows(
    root: Path, prism_program: Path, prism_jobs: list[Any], undisturbed: dict[str, Any]
):
    chain = Chain(root / "loopback", in_loopback(prism_program))
    chain.ingest(root / "photos")
    found = chain.files("examples", "quarantine")
    assert found == {name: undisturbed["files"][name] for name in found}
    assert chain.predict(root / "photos", root / "model") == undisturbed["rows"]
    assert len(prism_jobs) == 3


@pytest.mark.engines_check
def test_workers_in_the_process_that_starts_prism_give_the_same(
    root: Path, prism_program: Path, prism_jobs: list[Any], undisturbed: dict[str, Any]
):
    chain = Chain(root / "all-in-loopback", in_loopback(prism_program))
    assert_same(chain.run(root / "photos", root / "model"), undisturbed)
    assert len(prism_jobs) == 9


def test_the_processes_see_no_file_of_one_another_outside_of_the_pipeline_root(
    root: Path, prism: str, four: Pool, tmp_path: Path
):
    if not all(process.is_isolated for process in four.processes):
        pytest.skip("files can't be hidden from a process without the right to mount")
    (tmp_path / "of-submitter").touch()
    shared = [tmp_path, ROOT, Path.cwd(), Path.home(), Path("/var/tmp"), Path("/dev/shm")]

    def look(_: Any) -> None:
        own = f"of-worker-{os.getpid()}"
        folders = [Path(tempfile.gettempdir()), *shared]
        found = [
            str(path) for folder in folders for path in folder.glob("of-*") if path.name != own
        ]
        for folder in folders:
            try:
                (folder / own).touch()
            except OSError:  # read-only, or not there
                continue
        (root / f"{own}.json").write_text(json.dumps(found))

    # Each process is given the bundle twice: the second time it would see what the others left.
    four.fault = lambda done, attempt, process: "Look" in done and attempt < 8
    with beam.Pipeline(argv=on_pool(prism, four)) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Reshuffle() | "Look" >> beam.Map(look)
    seen = [json.loads(path.read_text()) for path in root.glob("of-worker-*.json")]
    assert seen == [[]] * 4
    assert [path for folder in shared for path in folder.glob("of-worker-*")] == []
