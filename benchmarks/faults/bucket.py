"""Faults of the bucket that has the images, manifests, ledger and registry of a local run.

The run reaches a stand-in of S3 or Google Cloud Storage through `FaultyStore`, and must end equal
to the run that has all of these on disk.
"""

import contextlib
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from unittest import mock
from urllib.parse import urlsplit

from benchmarks.faults import baseline, results, spans
from benchmarks.faults.cases import FINISHED, Bench, Case, Verdict, unclear
from benchmarks.faults.faulty_store import (
    FAULTS,
    VERBS,
    Fault,
    FaultyStore,
    Unreliable,
    faulty_store,
)
from benchmarks.faults.results import Result
from benchmarks.faults.runner import Outcome
from components import stores
from components.stores import store_of

_ADDRESSES = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_STAND_INS = Path(__file__).parents[2] / "tests" / "components"
_BUCKET, _PHOTOS, _MODELS = "photos", "data", "models"
_LEDGER = "ledgers/faults.ledger"
# What has the names of folders, or is there in a folder or in a bucket only.
_OF_PLACES = re.compile(
    r"spans/.*|.*\.lock|registry/#/(claim|version\.json)|.*/(champion|pushed|metrics)\.json"
)
_EVERY = 5


def cases(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields, of each kind of store, one that is unreliable, and faults for good of each verb."""
    for kind in _ADDRESSES:
        with _Bucket(kind, bench) as bucket:
            yield Case("bucket", f"{kind}, unreliable", partial(_unreliable, bucket))
            requests = bucket.proxy.verbs.copy()
            drawn = [
                Fault(verb, name, random.randint(1, requests[verb]), None)
                for verb in VERBS
                for name in (*FAULTS, "damage")
                if name not in ("cut", "damage") or verb == "GET"  # only these have a body
            ]
            for fault in drawn:
                label = f"{kind}, {fault.name} of {fault.verb} {fault.first} for good"
                yield Case("bucket", label, partial(_for_good, bucket, fault, None))


def short(bench: Bench, random: Random) -> Iterator[Case]:
    """Yields unreliable stores of each kind, the first after an image could not be read at all."""
    with _Bucket("s3", bench) as bucket:
        fault = Fault("GET", "503", 1, None, path=bucket.an_image())
        label = "s3, an image for good, then unreliable"
        yield Case("bucket", label, partial(_for_good, bucket, fault, Unreliable(_EVERY)))
    with _Bucket("gs", bench) as bucket:
        yield Case("bucket", "gs, unreliable", partial(_unreliable, bucket))


def _unreliable(bucket: "_Bucket", _: Bench) -> Verdict:
    bucket.clear()
    bucket.proxy.unreliable = unreliable = Unreliable(_EVERY)
    return bucket.verdict(bucket.run(), f"{len(unreliable.hits)} requests were hit, and the run")


def _for_good(bucket: "_Bucket", fault: Fault, later: Unreliable | None, _: Bench) -> Verdict:
    bucket.clear()
    bucket.proxy.fault = fault
    outcome = bucket.run()
    bucket.proxy.clear()
    if outcome.code in FINISHED:
        return bucket.verdict(outcome, f"{fault.hits} requests were hit, and the run")
    if problems := list(unclear(outcome, [bucket.uri(fault.path), "check that"])):
        return Verdict(False, "; ".join(problems))
    bucket.proxy.unreliable = later
    return bucket.verdict(bucket.run(), "it was named, and the next run")


class _Bucket:
    """A bucket with the images of the sample behind a proxy; a context manager.

    Attributes:
      proxy: what the runs take for the store.
    """

    def __init__(self, kind: str, bench: Bench):
        self._bench = bench
        self._kind = kind
        self._root = f"{kind}://{_BUCKET}"
        self._output = bench.run.output
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "_Bucket":
        address = _ADDRESSES[self._kind]
        server = self._stack.enter_context(_stand_in(self._kind, _BUCKET))
        self._stack.enter_context(mock.patch.dict(os.environ, server))
        self.proxy: FaultyStore = self._stack.enter_context(
            faulty_store(urlsplit(server[address]).port or 0)
        )
        self._environment = {**server, address: self.proxy.url, "AWS_MAX_ATTEMPTS": "2"}
        for path in self._bench.sample.rglob("*"):
            if path.is_file():
                relative = path.relative_to(self._bench.sample)
                store_of(self._root).upload(path, f"{self._root}/{_PHOTOS}/{relative}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Empties everything but the images, and ends faults and counts."""
        self.proxy.clear()
        self._bench.run.clear()
        kept = f"{self._root}/{_PHOTOS}/"
        found = [each.path for each in store_of(self._root).below(f"{self._root}/")]
        store_of(self._root).delete(path for path in found if not path.startswith(kept))

    def run(self) -> Outcome:
        """Runs the pipeline."""
        photos = f"{self._root}/{_PHOTOS}"
        settings = baseline.write_run(self._bench.folder, photos, f"run-{self._kind}")
        places = (
            *("--set", f"sampler.ledger={self._root}/{_LEDGER}"),
            *("--set", f"pusher.registry={self._root}/{_MODELS}"),
        )
        argv = baseline.argv("run", settings, self._output, *places)
        return self._bench.runner.run(argv, env=self._environment, prepare=_be_impatient)

    def verdict(self, outcome: Outcome, what: str) -> Verdict:
        """Compares with the run from disk.

        Args:
          outcome: of the last run.
          what: that run, as the beginning of a sentence.
        """
        if outcome.code not in FINISHED:
            return Verdict(False, f"{what} ended with {outcome.code}: {outcome.err[-600:]}")
        self._fetch(f"{_MODELS}/", self._output / "registry")
        self._fetch(_LEDGER, self._output / _LEDGER)
        run = self._bench.run
        expected = _without_places(run.result, run.saved)
        found = _without_places(results.read(self._output), self._output)
        if problems := results.differences(expected, found):
            return Verdict(False, f"{what} differs: {'; '.join(problems[:5])}", lost=True)
        return Verdict(True, f"{what} was equal")

    def an_image(self) -> str:
        """Returns the path of a request for an image of the last span."""
        image = spans.images(self._bench.sample)[-1].relative_to(self._bench.sample)
        return f"/{_BUCKET}/{_PHOTOS}/{image}"

    def uri(self, path: str) -> str:
        """Returns what a message must contain about the path of a request."""
        _, google, place = path.strip("/").rpartition("storage/v1/b/")
        bucket, _, key = place.partition("/")
        key = key.removeprefix("o").lstrip("/") if google else key
        return f"{self._kind}://{bucket}/{key}".rstrip("/")

    def _fetch(self, prefix: str, target: Path) -> None:
        for each in store_of(self._root).below(f"{self._root}/{prefix}"):
            file = target / each.path.removeprefix(f"{self._root}/{prefix}")
            file.parent.mkdir(parents=True, exist_ok=True)
            store_of(self._root).download(each.path, file)


def _without_places(result: Result, output: Path) -> Result:
    files = {name: of for name, of in result.files.items() if not _OF_PLACES.fullmatch(name)}
    metrics = json.loads((output / "latest" / "metrics.json").read_text(encoding="utf-8"))
    figures = json.dumps(results.steady({**metrics, "pushed_model": None}), sort_keys=True)
    files["figures"] = hashlib.sha256(figures.encode()).hexdigest()
    names = frozenset(name for name in result.names if not _OF_PLACES.fullmatch(name))
    return replace(result, files=files, names=names)


def _be_impatient() -> None:
    """Shortens the tries, in the process of a run: those of Google's client take half a minute."""
    stores._PAUSE_SECONDS = 0
    stores._GOOGLE_FIRST_PAUSE_SECONDS = 0.05
    stores._GOOGLE_RETRY_SECONDS = 1


def _stand_in(kind: str, bucket: str) -> AbstractContextManager[dict[str, str]]:
    """A stand-in of a store, which is a part of the tests; gives the environment of clients."""
    if str(_STAND_INS) not in sys.path:
        sys.path.append(str(_STAND_INS))
    module = importlib.import_module("stores_on_localhost")
    found: AbstractContextManager[dict[str, str]]
    found = {"s3": module.amazon, "gs": module.google}[kind](bucket)
    return found
