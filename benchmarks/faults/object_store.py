"""Faults of the object store that has a pipeline's images, ledger and outputs.

Each step runs by the command of the compiled pipeline, as a pod would, with a stand-in for Kubeflow
Pipelines' launcher; steps and launcher reach a stand-in of S3 through `FaultyStore`.
"""

import contextlib
import hashlib
import importlib
import itertools
import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

from benchmarks.faults import results, spans
from benchmarks.faults.baseline import SPLITS
from benchmarks.faults.cases import Bench, Case, Verdict
from benchmarks.faults.faulty_store import FAULTS, VERBS, Fault, FaultyStore, faulty_store
from benchmarks.faults.runner import Runner
from benchmarks.faults.steps import starter
from pipeline.sample.dataset import MANIFEST

# Names of their own: stand-ins of S3 in one process share their buckets.
_ARTIFACTS, _PHOTOS = "faults-artifacts", "faults-photos"
_SPAN = spans.NAMES[-1]
_ROOT = f"s3://{_ARTIFACTS}/root"
# The URI of an output is ROOT/PIPELINE/RUN/STEP/ID/KEY.
_ARTIFACT = re.compile(r"/[0-9a-f-]{36}/([A-Za-z]+)/\d+/")
_SECRET = {"id": "key", "secret": "of it"}
# The versions of the pipeline in the registry.
_FIRST, _SECOND = "dogs/1", "dogs/2"
_STATE = "registry/dogs/registry.json"
_DELAY_SECONDS = 2.0
_TRIES = "2"
_LAUNCHER = Path(__file__).parents[2] / "tests" / "kubeflow"


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields each fault of each verb, once and for good, at requests drawn at random."""
    drawn = [
        (verb, name, times)
        for times in (1, None)
        for verb in VERBS
        for name in (*FAULTS, "damage", "delay")
        if name not in ("cut", "damage") or verb == "GET"  # only these have a body
    ]
    random.shuffle(drawn)
    with _Cluster(bench.runner, bench.folder / "object_store", bench.sample) as cluster:
        for verb, name, times in drawn:
            first = random.randint(1, cluster.requests[verb])
            label = f"{name} of {verb} {first} {'once' if times else 'for good'}"
            fault = Fault(verb, name, first, times)
            yield Case("object_store", label, partial(_inject, cluster, fault))


def _inject(cluster: "_Cluster", fault: Fault, _: Bench) -> Verdict:
    cluster.clear()
    cluster.proxy.fault = fault
    failure = cluster.run()
    cluster.proxy.clear()
    if not failure:
        return cluster.verdict(f"{fault.hits} of its requests were hit, and the run")
    if problem := _unclear(failure, fault):
        return Verdict(False, problem)
    released = cluster.has_released()
    if failure := cluster.run():
        return Verdict(False, f"the next run failed: {failure[-600:]}")
    return cluster.verdict("it was named, and the next run", releases_again=released)


def _unclear(failure: str, fault: Fault) -> str:
    """Says what is missing in the words of a failed run; empty if nothing is."""
    if failure.startswith(_OF_LAUNCHER):
        return ""
    path = unquote(fault.path).strip("/")
    if f"://{path}" not in failure:
        return f"the message does not contain {path}: {failure[-600:]}"
    return "" if "check that" in failure else f"the message has no remedy: {failure[-600:]}"


_OF_LAUNCHER = "the launcher: "


class _Cluster:
    """A cluster with an object store, in which a pipeline runs; a context manager.

    Attributes:
      proxy: what steps and launcher take for the store.
      requests: number of requests of the undisturbed run, by verb.
    """

    def __init__(self, runner: Runner, folder: Path, sample: Path):
        self._runner, self._folder, self._sample = runner, folder, sample
        self._registry = folder / "registry"
        self._stack = contextlib.ExitStack()
        self._runs = itertools.count(1)

    def __enter__(self) -> "_Cluster":
        port, self._store = self._stack.enter_context(_store())
        self.proxy: FaultyStore = self._stack.enter_context(faulty_store(port))
        self.proxy.delay_seconds = _DELAY_SECONDS
        for path in self._sample.rglob("*"):
            if path.is_file():
                self._store.upload_file(str(path), _PHOTOS, str(path.relative_to(self._sample)))
        self._package = self._compiled()
        self.clear()
        if failure := self.run():
            raise RuntimeError(f"the undisturbed run failed: {failure}")
        self.requests = dict(self.proxy.verbs)
        self._expected = self._result()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Empties root, registry and cache, and ends faults and counts."""
        self.proxy.clear()
        for name in self._names():
            self._store.delete_object(Bucket=_ARTIFACTS, Key=name)
        shutil.rmtree(self._registry, ignore_errors=True)
        self._registry.mkdir(parents=True)
        self._cluster = self._new()

    def run(self) -> str:
        """Runs the pipeline, with cached outputs; returns why it failed, or nothing."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._steps = self._cluster.run(self._package, {"span": _SPAN}, pipeline_root=_ROOT)
        except _launcher().StepFailedError as error:
            return str(error)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            # The launcher's own transfers, which are not this project's.
            return f"{_OF_LAUNCHER}{error!r}"
        return ""

    def has_released(self) -> bool:
        """Returns whether the registry has a version."""
        return (self._registry / _FIRST).is_dir()

    def verdict(self, what: str, *, releases_again: bool = False) -> Verdict:
        """Compares with the undisturbed run.

        Args:
          what: the run, as the beginning of a sentence.
          releases_again: whether the run follows one that failed after its release. On a cluster
            images are read anew by each run, so it trains and releases the same model again.
        """
        found, expected = self._result(), dict(self._expected)
        if releases_again:
            first = f"registry/{_FIRST}/"
            expected |= {
                key.replace(first, f"registry/{_SECOND}/", 1): digest
                for key, digest in self._expected.items()
                if key.startswith(first)
            }
            expected[_STATE] = found[_STATE]  # the history has both releases
        keys = sorted(expected.keys() | found.keys())
        other = [key for key in keys if expected.get(key) != found.get(key)]
        if other:
            return Verdict(False, f"{what} differs in {other[:5]}", lost=True)
        return Verdict(True, f"{what} was equal")

    def _result(self) -> dict[str, str]:
        """Digests of registry, ledger and report; and the names of what must not be left over."""
        report = self._steps["Reporter"].outputs["report"]["uri"].partition(f"{_ARTIFACTS}/")[2]
        found = {
            f"registry/{path.relative_to(self._registry)}": _digest(path)
            for path in self._registry.rglob("*")
            if path.is_file()
        }
        metrics = json.loads(self._read(f"{report}/metrics.json"))
        # Images that a failed run has drawn are carried forward by the next one's.
        del metrics["sampling"]["ledger"]
        found["metrics"] = json.dumps({**results.steady(metrics), "pushed_model": None})
        for name in self._names():
            folder = name.split("/")[1]
            if folder == "ledgers":
                found[name] = hashlib.sha256(self._read(name)).hexdigest()
            elif folder == "checkpoints":
                found[name] = "left over"
        for upload in self._store.list_multipart_uploads(Bucket=_ARTIFACTS).get("Uploads", []):
            found[upload["Key"]] = "an upload that was not completed"
        return found

    def _read(self, key: str) -> bytes:
        return self._store.get_object(Bucket=_ARTIFACTS, Key=key)["Body"].read()

    def _names(self) -> list[str]:
        pages = self._store.get_paginator("list_objects_v2").paginate(Bucket=_ARTIFACTS)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def _new(self) -> Any:
        cluster = _launcher().Cluster(
            _client(self.proxy.url),
            self._folder / "pods" / str(next(self._runs)),
            secrets={"store": _SECRET},
            claims={"registry": self._registry},
        )
        cluster.start = starter(self._runner)
        return cluster

    def _compiled(self) -> Path:
        from pipeline.kubeflow.compile import compile_pipeline
        from pipeline.settings import parse

        path = self._folder / "pipeline.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        return compile_pipeline(parse(self._tree(), origin="benchmarks"), path)

    def _tree(self) -> dict[str, Any]:
        photos = f"s3://{_PHOTOS}/{{SPAN}}"
        return {
            "name": "faults",
            "data": {
                "source": photos,
                "manifest": f"{photos}/{MANIFEST}",
                "window": "all",
                "positive_class": "dogs",
            },
            "population": {"prevalence": {"cats": 10, "dogs": 1}},
            "sampler": {
                "assignment": "stable",
                "splits": {name: {"cats": share, "dogs": share} for name, share in SPLITS.items()},
            },
            "trainer": {"model": "cnn", "image_size": 16, "epochs": 2},
            "evaluator": {"gates": ["recall >= 0.01"]},
            "pusher": {"registry": str(self._registry / "dogs")},
            "kubeflow": {
                "image": "registry.example/outnumbered:1.0",
                "pipeline_root": _ROOT,
                "volumes": [{"claim": "registry", "path": str(self._registry)}],
                "env": {
                    "AWS_ENDPOINT_URL": self.proxy.url,
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_MAX_ATTEMPTS": _TRIES,
                },
                "secrets": [
                    {
                        "name": "store",
                        "env": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
                    }
                ],
            },
        }


def _digest(path: Path) -> str:
    if results.is_varying(path.name):
        return ""
    content = path.read_bytes()
    if path.suffix == ".json":
        content = _ARTIFACT.sub(r"/\1/", results.steady_json(content, path.name)).encode()
    return hashlib.sha256(content).hexdigest()


def _launcher() -> Any:
    """The stand-in for the launcher, which is a part of the tests."""
    if str(_LAUNCHER) not in sys.path:
        sys.path.append(str(_LAUNCHER))
    return importlib.import_module("launcher")


@contextlib.contextmanager
def _store() -> Iterator[tuple[int, Any]]:
    """Yields the port of a stand-in of S3, and a client of it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    client = _client(f"http://127.0.0.1:{port}")
    for bucket in (_ARTIFACTS, _PHOTOS):
        client.create_bucket(Bucket=bucket)
    try:
        yield port, client
    finally:
        server.stop()


def _client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=_SECRET["id"],
        aws_secret_access_key=_SECRET["secret"],
        config=Config(retries={"max_attempts": int(_TRIES)}),
    )
