"""The jobs of the Beam components on Dataflow: built by its runner, which does not submit them.

Images and outputs are below one folder, which stands for a bucket: Dataflow's workers see nothing
else of what the graphs name.
"""

import base64
import binascii
import bz2
import contextlib
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, TestOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.dataflow.internal import apiclient
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from chain import Chain, write_model, write_photos

from pipeline.beam_options import beam_args, check

IMAGE = "registry.example/outnumbered:1"
ACCOUNT = "steps@my-project.iam.gserviceaccount.com"
OPTIONS = [
    *("--project=my-project", "--region=europe-west4", f"--service_account_email={ACCOUNT}"),
    *("--temp_location=gs://bucket/temp", f"--sdk_container_image={IMAGE}"),
    *("--worker_machine_type=n2-standard-8", "--num_workers=2", "--max_num_workers=20"),
]
EXECUTED = ("ingest", "sample")
"""The components on whose outputs others are built."""

STEPS = {
    "ingest": [
        {"IngestShards", "IngestSpread", "Ingest"},
        {"FinalizeShards", "FinalizeSpread", "Finalize"},
    ],
    "sample": [
        {"Shards", "Spread", "Scan", "CountClasses", "WriteCounts"},
        {
            *("NumberShards", "ByShard", "Buckets", "Copy", "Spread", "Place"),
            *("CountOutcomes", "WriteOutcomes", "ListFiles", "WriteFiles"),
        },
    ],
    "extract": [{"Shards", "Spread", "Read", "Missing", "Infer", "Store"}],
}
"""The steps of the graphs that are the project's own; Dataflow keeps its metrics by these names."""

# Of this machine: what is below one of its own top folders, apart from the names of source files.
_PATH = re.compile(rb"/(?:tmp|var|home|root|work|usr|opt|mnt|gcs)(?:/[\w.+@-]+)+")


class _Built(Exception):  # noqa: N818 - it ends an executor that has built its graph
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def jobs(root: Path) -> dict[str, list[Any]]:
    """The jobs of each component."""
    check("DataflowRunner", OPTIONS)
    photos, model = write_photos(root / "photos"), write_model(root / "model")
    chain = Chain(root / "run", beam_args("DataflowRunner", OPTIONS))
    inputs = {"ingest": (photos,), "evaluate": (model,)}
    found: dict[str, list[Any]] = {}
    build = DataflowRunner.run_pipeline

    def run(runner: Any, pipeline: Any, options: Any) -> Any:
        executed = None
        if component in EXECUTED:
            in_process = PipelineOptions(["--sdk_container_image=none"])
            executed = FnApiRunner().run_pipeline(pipeline, in_process)
        options.view_as(TestOptions).dry_run = True
        found.setdefault(component, []).append(build(runner, pipeline, options).job)
        if executed is None:
            raise _Built
        return executed

    with pytest.MonkeyPatch.context() as patched:
        # It asks Cloud Storage.
        patched.setattr(GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda *_: None)
        patched.setattr(DataflowRunner, "run_pipeline", run)
        for component in ("ingest", "describe", "sample", "extract", "evaluate"):
            try:
                getattr(chain, component)(*inputs.get(component, ()))
            except _Built:
                assert component not in EXECUTED
    return found


def graphs(jobs: dict[str, list[Any]]) -> list[api.Pipeline]:
    return [job.proto_pipeline for of in jobs.values() for job in of]


def test_every_worker_is_a_container_of_the_image_of_the_steps(jobs: dict[str, list[Any]]):
    for graph in graphs(jobs):
        for environment in graph.components.environments.values():
            assert environment.urn == "beam:env:docker:v1"
            payload = api.DockerPayload.FromString(environment.payload)
            assert payload.container_image == IMAGE
            staged = {
                api.ArtifactStagingToRolePayload.FromString(each.role_payload).staged_name
                for each in environment.dependencies
            }
            assert staged <= {"pickled_main_session"}  # no package is installed at the start


def test_the_job_asks_for_the_machines_and_the_account_of_the_options(jobs: dict[str, list[Any]]):
    for job in (job for of in jobs.values() for job in of):
        asked = apiclient.Environment([], job.options, "1", "gs://bucket/graph", job.proto_pipeline)
        assert asked.proto.service_account_email == ACCOUNT
        assert asked.proto.temp_storage_prefix.startswith("storage.googleapis.com/bucket/temp/")
        (pool,) = asked.proto.worker_pools
        assert (pool.machine_type, pool.num_workers) == ("n2-standard-8", 2)
        assert pool.autoscaling_settings.max_num_workers == 20
        assert {each.container_image for each in pool.sdk_harness_container_images} == {IMAGE}


def test_the_graphs_name_no_local_path_but_below_the_bucket(jobs: dict[str, list[Any]], root: Path):
    seen = 0
    for graph in graphs(jobs):
        for transform in graph.components.transforms.values():
            for path in map(bytes.decode, _PATH.findall(_readable(transform))):
                if not path.endswith(".py"):
                    assert Path(path).is_relative_to(root), transform.unique_name
                    seen += 1
    assert seen > len(STEPS)


def _readable(transform: api.PTransform) -> bytes:
    """Returns the payload of a transform with its pickled functions, which Beam compresses."""
    payload: bytes = transform.spec.payload
    if transform.spec.urn == "beam:transform:pardo:v1":
        payload = api.ParDoPayload.FromString(payload).do_fn.payload
    with contextlib.suppress(binascii.Error, OSError, zlib.error):
        packed = base64.b64decode(payload, validate=True)
        return bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed)
    return payload


def test_steps_have_the_same_names_in_each_run(jobs: dict[str, list[Any]], root: Path):
    assert jobs.keys() == {*STEPS, "describe", "evaluate"}
    for graph in graphs(jobs):
        names = {each.unique_name for each in graph.components.transforms.values()}
        assert not any(re.search(rf"{root.name}|[0-9a-f]{{8}}|0x", name) for name in names)
    for component, of in STEPS.items():
        assert [_own_steps(job.proto_pipeline) for job in jobs[component]] == of


def _own_steps(graph: api.Pipeline) -> set[str]:
    (top,) = graph.root_transform_ids
    transforms = graph.components.transforms
    return {transforms[each].unique_name for each in transforms[top].subtransforms}
