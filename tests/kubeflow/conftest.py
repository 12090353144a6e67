"""Fixtures: a cluster with an object store on localhost, and settings of a small pipeline."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from launcher import Cluster
from moto.server import ThreadedMotoServer
from store_on_localhost import ARTIFACTS, PHOTOS, ObjectStore

from benchmarks.faults.runner import Runner
from benchmarks.faults.steps import starter
from pipeline.sample.dataset import make_sample

ROOT = f"s3://{ARTIFACTS}/root"


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="of it",
    )
    for bucket in (ARTIFACTS, PHOTOS):
        client.create_bucket(Bucket=bucket)
    yield ObjectStore(url, client)
    server.stop()


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables with which modules are compiled only once, as in an image."""
    folder = os.environ.get("PYTHONPYCACHEPREFIX") or str(tmp_path_factory.mktemp("bytecode"))
    return {"PYTHONPYCACHEPREFIX": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample data set of 400 cats and 40 dogs, 48 pixels wide."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    make_sample(folder, images=440, side=48, random_state=1, workers=2)
    return folder


@pytest.fixture
def cluster(object_store: ObjectStore, bytecode: dict[str, str], tmp_path: Path) -> Cluster:
    registry = tmp_path / "registry"
    registry.mkdir()
    return Cluster(
        object_store.client,
        tmp_path / "pods",
        secrets={"store": object_store.secret},
        claims={"registry": registry},
        default_root=ROOT,
        environment=bytecode,
    )


@pytest.fixture
def forking(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster with pods that have done their imports, which take most of a small step's time.

    `test_launcher_run` starts each step's own command.
    """
    with Runner(tmp_path / "processes") as runner:
        cluster.start = starter(runner)
        yield cluster


@pytest.fixture
def tree(object_store: ObjectStore, cluster: Cluster) -> dict[str, Any]:
    """Settings of a pipeline that trains for two epochs on the sample in a bucket."""
    registry = cluster.claims["registry"]
    return {
        "name": "small",
        "data": {
            "source": f"s3://{PHOTOS}/{{SPAN}}",
            "manifest": f"s3://{PHOTOS}/{{SPAN}}/manifest.csv",
            "positive_class": "dogs",
            "slices": ["breed", "lighting"],
        },
        "population": {"prevalence": {"cats": 10, "dogs": 1}},
        "sampler": {
            "splits": {
                "train": {"cats": 200, "dogs": 20},
                "val": {"cats": 80, "dogs": 8},
                "test": {"cats": 80, "dogs": 8},
            }
        },
        "trainer": {"model": "cnn", "image_size": 32, "epochs": 2},
        "evaluator": {"gates": ["recall >= 0.01", "anomalies <= 0"]},
        "pusher": {"registry": str(registry / "dogs")},
        "kubeflow": {
            "image": "registry.example/outnumbered:1.0",
            "gpu_image": "registry.example/outnumbered-gpu:1.0",
            "pipeline_root": ROOT,
            "volumes": [{"claim": "registry", "path": str(registry)}],
            "env": {
                "AWS_ENDPOINT_URL": object_store.url,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            "secrets": [
                {
                    "name": "store",
                    "env": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
                }
            ],
            "gpu": {"node_selector": {"pool": "gpu"}},
        },
    }
