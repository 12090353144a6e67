"""ImbalanceSampler's executor: survey the images, plan, place them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils

from components import names
from components.example_files import split_dir, split_files
from components.imbalance_sampler import report as account
from components.imbalance_sampler.assignment import assign
from components.imbalance_sampler.census import Census, prevalence
from components.imbalance_sampler.demand import resolve
from components.imbalance_sampler.index import Index
from components.imbalance_sampler.placement import place, read_outcomes
from components.imbalance_sampler.plan import REST, Plan
from components.imbalance_sampler.records import check_features, write_empty_shard
from components.imbalance_sampler.request import (
    SamplingRequest,
    check_class_names,
    check_sides,
    parse_request,
)
from components.imbalance_sampler.shuffle import load_bucket
from components.imbalance_sampler.survey import bucket_bits, read_survey, survey

SPLITS = "splits"
RANDOM_STATE = "random_state"
ASSIGNMENT = "assignment"
GROUP_BY = "group_by"
KEEP_REST = "keep_rest"
PREVALENCE = "prevalence"

_WORK_DIR = ".work"
"""Folder of the survey's files, under the output examples; gone when the run ends."""


@dataclass(frozen=True)
class _Properties:
    """The execution properties, parsed."""

    request: SamplingRequest
    random_state: int
    group_by: str
    keep_rest: bool
    weights: Mapping[str, float] | None

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> "_Properties":
        weights = properties.get(PREVALENCE)
        return cls(
            request=parse_request(
                json.loads(properties[SPLITS]), assignment=properties[ASSIGNMENT]
            ),
            random_state=int(properties[RANDOM_STATE]),
            group_by=properties.get(GROUP_BY) or "",
            keep_rest=bool(int(properties.get(KEEP_REST) or 0)),
            weights=json.loads(weights) if weights else None,
        )

    @property
    def outputs(self) -> dict[int, str]:
        """Name of the split to write, by outcome."""
        splits = dict(enumerate(split.name for split in self.request.splits))
        return splits | ({REST: names.REST} if self.keep_rest else {})


class Executor(base_beam_executor.BaseBeamExecutor):
    """Draws the splits; see `component.ImbalanceSampler`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits and `sampling.json`.

        Raises:
          SamplingError: the splits can't be had from these images; nothing is written.
        """
        properties = _Properties.of(exec_properties)
        shards = split_files(artifact_utils.get_single_uri(input_dict[names.EXAMPLES]), names.ALL)
        check_features(shards, properties.group_by)
        examples = artifact_utils.get_single_instance(output_dict[names.DRAWN_EXAMPLES])
        work = os.path.join(examples.uri, _WORK_DIR)
        tf.io.gfile.makedirs(work)
        try:
            report = self._draw(shards, examples.uri, work, properties)
        finally:
            tf.io.gfile.rmtree(work)
        examples.split_names = artifact_utils.encode_split_names(list(properties.outputs.values()))
        account.write(report, artifact_utils.get_single_uri(output_dict[names.SAMPLING]))

    def _draw(
        self, shards: list[str], uri: str, work: str, properties: _Properties
    ) -> dict[str, Any]:
        """Writes the splits under `uri`, and gives what `sampling.json` is to say."""
        bits = bucket_bits(sum(tf.io.gfile.stat(shard).length for shard in shards))
        with self._make_beam_pipeline() as pipeline:
            survey(
                pipeline,
                shards,
                work,
                random_state=properties.random_state,
                group_by=properties.group_by,
                bits=bits,
            )
        census, tallies = read_survey(work)
        index = Index(
            bits=bits,
            classes=len(census.classes),
            tallies=tallies,
            load=lambda bucket: load_bucket(work, bucket),
        )
        plan = _plan(properties, census, index)
        self._place(shards, uri, work, plan, properties.outputs)
        return {
            RANDOM_STATE: properties.random_state,
            ASSIGNMENT: properties.request.assignment,
            GROUP_BY: properties.group_by,
            **account.sampling_report(
                census=census,
                drawn=plan.drawn,
                splits=plan.splits,
                outcomes=read_outcomes(work),
                weights=properties.weights,
            ),
        }

    def _place(
        self, shards: list[str], uri: str, work: str, plan: Plan, outputs: Mapping[int, str]
    ) -> None:
        folders = {outcome: split_dir(uri, split) for outcome, split in outputs.items()}
        for folder in folders.values():
            tf.io.gfile.makedirs(folder)
        with self._make_beam_pipeline() as pipeline:
            place(pipeline, shards, work, plan=plan, outputs=folders)
        for folder in folders.values():
            if not tf.io.gfile.listdir(folder):
                write_empty_shard(folder)


def _plan(properties: _Properties, census: Census, index: Index) -> Plan:
    """Checks the settings against the data, and plans."""
    positive_classes = [census.classes[rank] for rank in census.side(names.POSITIVE_LABEL)]
    check_class_names(properties.request, census.classes)
    check_sides(properties.request, positive_classes)
    prevalence(properties.weights, census)
    demands = resolve(properties.request, census, index.usable())
    return assign(properties.request, demands, index)
