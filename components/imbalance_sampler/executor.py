"""ImbalanceSampler's executor: surveys the images, plans the splits and writes them."""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components import artifact_files, names, slice_columns
from components.artifact_files import Described, Shard
from components.checked_artifacts import checked
from components.example_files import shard_name, split_dir, split_shards
from components.image_example_gen import spans_file
from components.imbalance_sampler import draws, ledger, near_duplicates
from components.imbalance_sampler import report as sampling_report
from components.imbalance_sampler.assignment import assign, band_edges, bands
from components.imbalance_sampler.census import Census, prevalence
from components.imbalance_sampler.demand import resolve
from components.imbalance_sampler.index import Index
from components.imbalance_sampler.placement import copy_used, place, read_files, read_outcomes
from components.imbalance_sampler.plan import REST, Plan
from components.imbalance_sampler.records import check_features, write_empty_shard
from components.imbalance_sampler.request import (
    STABLE,
    SamplingError,
    SamplingRequest,
    ShortageError,
    check_class_names,
    check_sides,
    parse_request,
)
from components.imbalance_sampler.rows import Rows
from components.imbalance_sampler.shuffle import LOGGER, load_bucket, saved_buckets
from components.imbalance_sampler.survey import bucket_bits, read_survey, survey, write_buckets
from components.imbalance_sampler.units import Units, form_units

SPLITS = "splits"
RANDOM_STATE = "random_state"
ASSIGNMENT = "assignment"
GROUP_BY = "group_by"
MAX_DISTANCE = "max_distance"
KEEP_REST = "keep_rest"
PREVALENCE = "prevalence"
LEDGER = "ledger"
LEDGER_VERSION = "ledger_version"
PIPELINE_ROOT = "pipeline_root"
DRAWS = "draws"
WRITTEN = "written"

LEDGER_DIGEST = "ledger_digest"
"""Custom property of the sampling artifact: the digest of the ledger after the draw."""

_WORK_DIR = ".work"
"""Temporary folder of the survey's files, under the output examples."""


@dataclass(frozen=True)
class _Properties:
    """The execution properties, parsed."""

    request: SamplingRequest
    random_state: int
    group_by: str
    max_distance: int
    keep_rest: bool
    weights: Mapping[str, float] | None
    ledger_path: str
    draws: int
    written: Sequence[str]

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> "_Properties":
        weights = properties.get(PREVALENCE)
        return cls(
            request=parse_request(
                json.loads(properties[SPLITS]), assignment=properties[ASSIGNMENT]
            ),
            random_state=int(properties[RANDOM_STATE]),
            group_by=properties.get(GROUP_BY) or "",
            max_distance=int(properties[MAX_DISTANCE]),
            keep_rest=bool(int(properties.get(KEEP_REST) or 0)),
            weights=json.loads(weights) if weights else None,
            ledger_path=_ledger_path(properties),
            draws=int(properties.get(DRAWS) or 1),
            written=json.loads(properties.get(WRITTEN) or "[]"),
        )

    @property
    def outputs(self) -> dict[int, str]:
        """Names of the splits to write, by outcome; of several draws there is only one."""
        if self.draws > 1:
            return {0: names.DRAWN}
        splits = dict(enumerate(split.name for split in self.request.splits))
        return splits | ({REST: names.REST} if self.keep_rest else {})

    @property
    def terms(self) -> ledger.Terms:
        """The settings that must match those of the ledger."""
        split_names = [split.name for split in self.request.splits]
        return ledger.Terms.of(
            random_state=self.random_state,
            group_by=self.group_by,
            bands=dict(zip(split_names, bands(self.request), strict=True)),
            max_distance=self.max_distance,
        )


def _ledger_path(properties: Mapping[str, Any]) -> str:
    """Returns the path of the ledger; '' for a draw that needs none."""
    if properties[ASSIGNMENT] != STABLE:
        return ""
    return os.path.join(properties.get(PIPELINE_ROOT) or "", properties[LEDGER])


class Executor(base_beam_executor.BaseBeamExecutor):
    """Draws the splits; see `component.ImbalanceSampler`."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits and `sampling.json`.

        Raises:
          SamplingError: the splits can't be drawn from these images, or the ledger can't be
            used; nothing is written.
        """
        properties = _Properties.of(exec_properties)
        source = artifact_utils.get_single_uri(input_dict[names.EXAMPLES])
        shards = split_shards(source, names.ALL)
        check_features([shard.path for shard in shards], properties.group_by)
        examples = artifact_utils.get_single_instance(output_dict[names.DRAWN_EXAMPLES])
        work = os.path.join(examples.uri, _WORK_DIR)
        sampling = artifact_utils.get_single_instance(output_dict[names.SAMPLING])
        tf.io.gfile.makedirs(work)
        try:
            if properties.ledger_path:
                report, digest = self._draw_with_ledger(shards, examples.uri, work, properties)
                sampling.set_string_custom_property(LEDGER, properties.ledger_path)
                sampling.set_string_custom_property(LEDGER_VERSION, exec_properties[LEDGER_VERSION])
                sampling.set_string_custom_property(LEDGER_DIGEST, digest)
            elif properties.draws > 1:
                report = self._draw_several(shards, examples.uri, work, properties, sampling.uri)
            else:
                report, _, _ = self._draw(shards, examples.uri, work, properties, ledger.EMPTY)
            artifact_files.write_list(
                examples.uri,
                read_files(work) + _empty_splits(examples.uri, properties.outputs),
                check_digests=artifact_files.checks_digests(source),
            )
        finally:
            tf.io.gfile.rmtree(work)
        examples.split_names = artifact_utils.encode_split_names(list(properties.outputs.values()))
        report[sampling_report.SLICE_COLUMNS] = slice_columns.read(source)
        # For components that need no image: a cluster would copy all of them to their pods.
        data = spans_file.read(source)
        report[sampling_report.DATA] = data and data.model_dump(mode="json")
        sampling_report.write(report, sampling.uri)

    def _draw_with_ledger(
        self, shards: list[Shard], uri: str, work: str, properties: _Properties
    ) -> tuple[dict[str, Any], str]:
        """Draws as `_draw` does and updates the ledger; returns the report and its digest."""
        path = properties.ledger_path
        with ledger.locked(path):
            before = ledger.read(path)
            ledger.check(before, properties.terms, path)
            report, rows, units = self._draw(shards, uri, work, properties, before)
            after = ledger.after_draw(before, properties.terms, rows, units)
            # Before TFX publishes the draw: if publishing fails, the same images are drawn again.
            ledger.write(after, path, replacing=before)
        return {**report, LEDGER: ledger.summary(before, rows, units)}, after.digest

    def _draw(
        self,
        shards: list[Shard],
        uri: str,
        work: str,
        properties: _Properties,
        before: ledger.Ledger,
    ) -> tuple[dict[str, Any], Rows, Units]:
        """Writes the splits under `uri`, and returns the content of `sampling.json`."""
        self._survey(shards, {work: properties.random_state}, properties)
        planned = _Planned.of(work, shards, properties, before)
        paths = [shard.path for shard in shards]
        self._place(paths, uri, work, planned.plan, properties.outputs)
        return planned.report(properties, read_outcomes(work)), planned.rows, planned.units

    def _draw_several(
        self,
        shards: list[Shard],
        uri: str,
        work: str,
        properties: _Properties,
        sampling: str,
    ) -> dict[str, Any]:
        """Writes all images of the draws' written splits once, and the draws.

        Returns:
          the report of the first draw.
        """
        states = draws.random_states(properties.random_state, properties.draws)
        folders = {os.path.join(work, f"draw-{n}"): state for n, state in enumerate(states)}
        for folder in folders:
            tf.io.gfile.makedirs(folder)
        self._survey(shards, folders, properties)
        report: dict[str, Any] = {}
        outcomes = []
        for number, (folder, state) in enumerate(folders.items()):
            one = replace(properties, random_state=state)
            with _named_draw(number, properties.draws, state):
                planned = _Planned.of(folder, shards, one, ledger.EMPTY)
            found, counts = _outcomes(folder, planned.plan, shards)
            outcomes.append(found)
            report = report or planned.report(one, counts)
            tf.io.gfile.rmtree(folder)
        written = {
            number: split
            for number, split in enumerate(planned.plan.splits)
            if split in (properties.written or planned.plan.splits)
        }
        used = np.logical_or.reduce([np.isin(found, list(written)) for found in outcomes])
        draws.write(_rows_by_split(outcomes, used, written), sampling)
        tf.io.gfile.makedirs(split_dir(uri, names.DRAWN))
        with self._make_beam_pipeline() as pipeline:
            copy_used(pipeline, shards, work, used=used, uri=uri, split=split_dir("", names.DRAWN))
        return {**report, DRAWS: [{RANDOM_STATE: state} for state in states]}

    def _survey(
        self, shards: list[Shard], folders: Mapping[str, int], properties: _Properties
    ) -> None:
        with self._make_beam_pipeline() as pipeline:
            survey(pipeline, shards, folders, group_by=properties.group_by)

    def _place(
        self, shards: list[str], uri: str, work: str, plan: Plan, outputs: Mapping[int, str]
    ) -> None:
        for split in outputs.values():
            tf.io.gfile.makedirs(split_dir(uri, split))
        folders = {outcome: split_dir("", split) for outcome, split in outputs.items()}
        with self._make_beam_pipeline() as pipeline:
            place(pipeline, shards, work, plan=plan, uri=uri, outputs=folders)


@dataclass(frozen=True)
class _Planned:
    """A draw of the splits before any record is copied."""

    rows: Rows
    units: Units
    census: Census
    plan: Plan
    similar: Mapping[str, Any]

    @classmethod
    def of(
        cls, work: str, shards: Sequence[Shard], properties: _Properties, before: ledger.Ledger
    ) -> "_Planned":
        """Plans a draw from the survey in `work`."""
        bits = bucket_bits(sum(tf.io.gfile.stat(shard.path).length for shard in shards))
        rows, counts = read_survey(work, len(shards))
        census = Census.of(counts)
        units = _form_units(rows, properties, before)
        similar = near_duplicates.summary(units.clusters, len(rows), properties.max_distance)
        if similar["warning"]:
            logging.getLogger(LOGGER).warning(similar["warning"])
        index = Index(
            bits=bits,
            classes=len(census.classes),
            tallies=write_buckets(rows, census.classes, work, bits),
            load=lambda bucket: load_bucket(work, bucket),
        )
        with _near_duplicate_advice(similar):
            plan = _plan(properties, census, index)
        return cls(rows, units, census, plan, similar)

    def report(
        self, properties: _Properties, outcomes: Mapping[tuple[int, int], int]
    ) -> dict[str, Any]:
        """Returns the content of `sampling.json`."""
        return {
            RANDOM_STATE: properties.random_state,
            ASSIGNMENT: properties.request.assignment,
            GROUP_BY: properties.group_by,
            **sampling_report.summarize(
                census=self.census,
                drawn=self.plan.drawn,
                splits=self.plan.splits,
                outcomes=outcomes,
                weights=properties.weights,
            ),
            "near_duplicates": self.similar,
        }


def _outcomes(
    work: str, plan: Plan, shards: Sequence[Shard]
) -> tuple[NDArray[np.uint8], dict[tuple[int, int], int]]:
    """Returns the outcome of every image, in the order of the shards, and their number by class."""
    starts = np.cumsum([0, *(shard.records for shard in shards)])
    found = np.empty(starts[-1], np.uint8)
    counts: Counter[tuple[int, int]] = Counter()
    for bucket in saved_buckets(work):
        rows = load_bucket(work, bucket)
        outcomes = plan.outcomes(rows)
        found[starts[rows["shard"]] + rows["position"]] = outcomes
        counts.update(zip(outcomes.tolist(), rows["class"].tolist(), strict=True))
    return found, dict(counts)


def _rows_by_split(
    outcomes: Sequence[NDArray[np.uint8]], used: NDArray[np.bool_], splits: Mapping[int, str]
) -> list[dict[str, NDArray[np.int64]]]:
    """Returns, for each draw and split, the rows of its images among those that are used."""
    return [
        {
            split: np.flatnonzero(found[used] == number).astype(np.int64)
            for number, split in splits.items()
        }
        for found in outcomes
    ]


@contextlib.contextmanager
def _named_draw(number: int, draws: int, random_state: int) -> Iterator[None]:
    """Names the draw in the error of a draw that fails."""
    try:
        yield
    except SamplingError as error:
        message = f"draw {number + 1} of {draws}, with random_state {random_state}: {error}"
        raise SamplingError(message) from error


def _empty_splits(uri: str, outputs: Mapping[int, str]) -> list[Described]:
    """Writes a shard to each split that has none, and returns the entries of these shards."""
    empty = [split for split in outputs.values() if not tf.io.gfile.listdir(split_dir(uri, split))]
    for split in empty:
        write_empty_shard(split_dir(uri, split))
    return [
        artifact_files.describe(uri, os.path.join(split_dir("", split), shard_name(0, 1)), 0)
        for split in empty
    ]


def _form_units(rows: Rows, properties: _Properties, before: ledger.Ledger) -> Units:
    """Forms the units, and fills them into the rows."""
    units = form_units(
        rows,
        random_state=properties.random_state,
        max_distance=properties.max_distance,
        placed=before.rows,
        edges=band_edges(properties.request) if properties.ledger_path else None,
    )
    rows["unit"], rows["excluded"] = units.unit, units.excluded
    return units


@contextlib.contextmanager
def _near_duplicate_advice(similar: Mapping[str, Any]) -> Iterator[None]:
    """Adds advice to the error of a shortage that near-duplicates cause."""
    try:
        yield
    except ShortageError as error:
        if not similar["clusters"] or not (error.blocked or similar["warning"]):
            raise
        message = (
            f"{error}. {similar['images']:,} images are near-duplicates of others, in "
            f"{similar['clusters']:,} clusters, the largest of {similar['largest']:,}; each "
            f"cluster stays in one split. {near_duplicates.ADVICE.capitalize()}"
        )
        raise ShortageError(message, error.blocked) from error


def _plan(properties: _Properties, census: Census, index: Index) -> Plan:
    """Checks the settings against the data, and makes the plan."""
    positive_classes = [census.classes[rank] for rank in census.side(names.POSITIVE_LABEL)]
    check_class_names(properties.request, census.classes)
    check_sides(properties.request, positive_classes)
    prevalence(properties.weights, census)
    demands = resolve(properties.request, census, index.usable())
    return assign(properties.request, demands, index)
