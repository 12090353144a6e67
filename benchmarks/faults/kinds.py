"""The kinds of faults; each has a module with a function that yields its cases."""

from collections.abc import Callable, Iterator, Mapping
from random import Random

from benchmarks.faults import (
    bucket,
    damage,
    disk_full,
    folders,
    images,
    kill,
    object_store,
    retrain,
    sigterm,
    two_runs,
)
from benchmarks.faults.cases import Bench, Case

Cases = Callable[[Bench, Random], Iterator[Case]]
"""Yields cases without end, or all there are; those that come first say the most."""

KINDS: Mapping[str, Cases] = {
    "kill": kill.cases,
    "sigterm": sigterm.cases,
    "disk_full": disk_full.cases,
    "folders": folders.cases,
    "two_runs": two_runs.cases,
    "damage": damage.cases,
    "images": images.cases,
    "retrain": retrain.cases,
    "bucket": bucket.cases,
    "object_store": object_store.cases,
}
"""The cases of each kind, by its name."""

SHORT: Mapping[str, Cases] = {
    "sigterm": sigterm.short,
    "disk_full": disk_full.short,
    "folders": folders.short,
    "two_runs": two_runs.short,
    "damage": damage.short,
    "images": images.short,
    "retrain": retrain.short,
    "bucket": bucket.short,
}
"""The short form of the kinds, for the tests; kills of a run are among those of a retraining.

The whole path of a cluster with an undisturbed object store is in `tests/kubeflow`.
"""
