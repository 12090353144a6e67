"""ImbalanceSampler: train, val and test, each at the size and balance asked for."""

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components import names
from components.artifacts import Sampling
from components.imbalance_sampler import executor
from components.imbalance_sampler.request import EXACT, parse_request


class ImbalanceSamplerSpec(types.ComponentSpec):
    """What comes in and goes out; structures are JSON, so that a cluster can pass them."""

    PARAMETERS = {
        executor.SPLITS: component_spec.ExecutionParameter(type=str),
        executor.RANDOM_STATE: component_spec.ExecutionParameter(type=int),
        executor.ASSIGNMENT: component_spec.ExecutionParameter(type=str),
        executor.GROUP_BY: component_spec.ExecutionParameter(type=str),
        executor.KEEP_REST: component_spec.ExecutionParameter(type=int),
        executor.PREVALENCE: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {names.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        names.DRAWN_EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        names.SAMPLING: component_spec.ChannelParameter(type=Sampling),
    }


class ImbalanceSampler(base_beam_component.BaseBeamComponent):
    """Draws splits that share no image, to exact sizes a class, from split `all`.

    Which images a split gets depends on the seed and on the images' identities alone
    (`assignment` has the rule): not on shards, workers, or the order of files. Images
    that are near-duplicates, or of one group, never lie in two splits.

    Two passes over the shards. The first reads metadata only and sorts some 40 bytes an
    image into buckets of units, in work files; a plan is made from the buckets' tallies,
    opening only the few buckets that a bound cuts. The second hands 5 bytes an image back
    to its shard and copies the records, file to file. Image bytes are never shuffled. Time
    and work files grow linearly with the data; memory doesn't: a worker holds a bucket,
    or the metadata of a shard.

    Outputs: `drawn_examples`, with the splits asked for, each shard's records in their order;
    `sampling`, the account in `sampling.json`.
    """

    SPEC_CLASS = ImbalanceSamplerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        *,
        splits: Mapping[str, Any],
        random_state: int = 42,
        assignment: str = EXACT,
        group_by: str | None = None,
        keep_rest: bool = False,
        prevalence: Mapping[str, float] | None = None,
    ):
        """Makes the component.

        Args:
          examples: images with the features of `components.names`, split `all`.
          splits: by split, the size of each class or side (`positive`, `negative`): a
            number of images (`int`) or a fraction of those there are (`float`, up to
            1.0); or `{"total": 1100, "ratio": {"cats": 10, "dogs": 1}}`.
          random_state: the seed; another draws other images.
          assignment: `exact` meets the numbers to the image; `stable` also keeps every
            image out of any other split than its first, however the data grows.
          group_by: text column whose equal values stay together, such as a patient.
          keep_rest: whether to write what no split wanted as split `rest`.
          prevalence: the real world's weight of each class or side, for the account;
            None takes the balance of the data.

        Raises:
          SamplingError: the splits are malformed or contradict each other.
        """
        parse_request(splits, assignment=assignment)
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
                    executor.KEEP_REST: int(keep_rest),
                    executor.PREVALENCE: json.dumps(prevalence, sort_keys=True)
                    if prevalence
                    else "",
                }
            )
        )
