"""ImbalanceSampler: draws train, val and test, each at the requested size and balance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import component_spec, standard_artifacts

from components import names
from components.artifacts import Sampling
from components.imbalance_sampler import executor
from components.imbalance_sampler.request import (
    DEFAULT_DISTANCE,
    EXACT,
    STABLE,
    SamplingError,
    check_draws,
    check_max_distance,
    parse_request,
)


class ImbalanceSamplerSpec(types.ComponentSpec):
    """Inputs, outputs and parameters; mappings are passed as JSON, as clusters require."""

    PARAMETERS = {
        executor.SPLITS: component_spec.ExecutionParameter(type=str),
        executor.RANDOM_STATE: component_spec.ExecutionParameter(type=int),
        executor.ASSIGNMENT: component_spec.ExecutionParameter(type=str),
        executor.GROUP_BY: component_spec.ExecutionParameter(type=str),
        executor.MAX_DISTANCE: component_spec.ExecutionParameter(type=int),
        executor.KEEP_REST: component_spec.ExecutionParameter(type=int),
        executor.PREVALENCE: component_spec.ExecutionParameter(type=str),
        executor.LEDGER: component_spec.ExecutionParameter(type=str),
        executor.LEDGER_VERSION: component_spec.ExecutionParameter(type=str),
        executor.PIPELINE_ROOT: component_spec.ExecutionParameter(type=str, optional=True),
        executor.DRAWS: component_spec.ExecutionParameter(type=int, optional=True),
        executor.WRITTEN: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {names.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        names.DRAWN_EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        names.SAMPLING: component_spec.ChannelParameter(type=Sampling),
    }


class ImbalanceSampler(base_beam_component.BaseBeamComponent):
    """Draws disjoint splits with exact sizes per class from split `all`.

    Which images a split gets depends on the seed and on the images' identities alone (see
    `assignment`), and with `stable` on earlier draws: not on shards, workers, or the order of
    files. Near-duplicates and images of one group are never in two splits (see `units`).

    There are two passes over the shards. The first reads metadata only, 66 bytes per image. From
    these the executor forms the units, which takes about 200 bytes of memory per image, and sorts
    them into buckets; it makes a plan from the buckets' tallies and opens only the few buckets
    that a bound cuts. The second returns 5 bytes per image to its shard and copies the records
    from file to file. Image bytes are never shuffled. Time and work files grow linearly with the
    data; a worker holds one bucket, or the metadata of one shard.

    Outputs: `drawn_examples`, with the requested splits, each shard's records in their order;
    `sampling`, the report in `sampling.json`, and of several draws `draws.parquet`.
    """

    SPEC_CLASS = ImbalanceSamplerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - one argument per setting
        self,
        examples: types.BaseChannel,
        *,
        splits: Mapping[str, Any],
        random_state: int = 42,
        assignment: str = EXACT,
        group_by: str | None = None,
        max_distance: int = DEFAULT_DISTANCE,
        keep_rest: bool = False,
        prevalence: Mapping[str, float] | None = None,
        ledger: str = "",
        ledger_version: str = "",
        pipeline_root: RuntimeParameter | None = None,
        draws: int = 1,
        written: Sequence[str] = (),
    ):
        """Creates the component.

        Args:
          examples: images with the features of `components.names`, split `all`.
          splits: by split, the size of each class or side (`positive`, `negative`): a
            number of images (`int`) or a fraction of the available ones (`float`, up to
            1.0); or `{"total": 1100, "ratio": {"cats": 10, "dogs": 1}}`.
          random_state: the seed.
          assignment: `exact` gives exactly the requested numbers; `stable` also keeps every
            image in its first split as the data grows.
          group_by: text column whose equal values stay together, such as a patient.
          max_distance: maximum number of bits, of 64, in which the perceptual hashes of
            near-duplicates differ; 0: there are no near-duplicates.
          keep_rest: whether to write the images that no split took as split `rest`.
          prevalence: the real world's weight of each class or side, for the report;
            None for the balance of the data.
          ledger: path of the file that records `stable` draws, see `ledger`; it must outlive
            the run. Required for `stable`, ignored for `exact`.
          ledger_version: identifies the state of the ledger. The component doesn't read it: if
            the ledger was changed or removed, it makes TFX's cache miss.
          pipeline_root: run parameter: the folder that `ledger` is relative to.
          draws: how often the splits are drawn, each time from all images with a seed of its
            own, see `draws`. With several, the images that any draw uses are written once, as
            split `drawn`, and `draws.parquet` of `sampling` has the rows of each split.
          written: with several draws, the splits that are written; empty: all.

        Raises:
          SamplingError: the splits are malformed or contradict each other, the distance is out
            of bounds, `stable` is set without a ledger, or several draws with `stable` or with
            `keep_rest`.
        """
        parse_request(splits, assignment=assignment)
        check_draws(draws, assignment=assignment, keep_rest=keep_rest)
        if assignment == STABLE and not ledger:
            raise SamplingError(
                "with assignment 'stable', a ledger is required, the file that records earlier "
                f"draws; set its path. Received: {ledger!r}"
            )
        super().__init__(
            spec=ImbalanceSamplerSpec(
                **{
                    names.EXAMPLES: examples,
                    names.DRAWN_EXAMPLES: types.Channel(type=standard_artifacts.Examples),
                    names.SAMPLING: types.Channel(type=Sampling),
                    executor.SPLITS: json.dumps(splits, sort_keys=True),
                    executor.RANDOM_STATE: random_state,
                    executor.ASSIGNMENT: assignment,
                    executor.GROUP_BY: group_by or "",
                    executor.MAX_DISTANCE: check_max_distance(max_distance),
                    executor.KEEP_REST: int(keep_rest),
                    executor.PREVALENCE: json.dumps(prevalence, sort_keys=True)
                    if prevalence
                    else "",
                    executor.LEDGER: ledger,
                    executor.LEDGER_VERSION: ledger_version,
                    executor.PIPELINE_ROOT: pipeline_root,
                    executor.DRAWS: draws if draws > 1 else None,
                    executor.WRITTEN: json.dumps(sorted(written)) if draws > 1 else None,
                }
            )
        )
