"""ImbalanceSampler: train, val and test, each at the size and balance asked for."""

import json
from collections.abc import Mapping
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
    check_max_distance,
    parse_request,
)


class ImbalanceSamplerSpec(types.ComponentSpec):
    """What comes in and goes out; structures are JSON, so that a cluster can pass them."""

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
    }
    INPUTS = {names.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        names.DRAWN_EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        names.SAMPLING: component_spec.ChannelParameter(type=Sampling),
    }


class ImbalanceSampler(base_beam_component.BaseBeamComponent):
    """Draws splits that share no image, to exact sizes a class, from split `all`.

    Which images a split gets depends on the seed and on the images' identities alone
    (`assignment` has the rule), and with `stable` on the draws before: not on shards, workers,
    or the order of files. Images that are near-duplicates, or of one group, never lie in two
    splits (`units` says which images these are).

    Two passes over the shards. The first reads metadata only, 66 bytes an image. Over these the
    executor forms the units, which takes some 200 bytes of memory an image, and sorts them into
    buckets; a plan is made from the buckets' tallies, opening only the few that a bound cuts.
    The second hands 5 bytes an image back to its shard and copies the records, file to file.
    Image bytes are never shuffled. Time and work files grow linearly with the data; a worker
    holds a bucket, or the metadata of a shard.

    Outputs: `drawn_examples`, with the splits asked for, each shard's records in their order;
    `sampling`, the account in `sampling.json`.
    """

    SPEC_CLASS = ImbalanceSamplerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - an argument a setting
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
          max_distance: bits, of 64, in which the perceptual hashes of near-duplicates differ
            at most; 0: no image is another's near-duplicate.
          keep_rest: whether to write what no split wanted as split `rest`.
          prevalence: the real world's weight of each class or side, for the account;
            None takes the balance of the data.
          ledger: path of the file that carries a `stable` draw on to the next, see `ledger`;
            it must outlive the run. `stable` needs one, `exact` ignores it.
          ledger_version: names the state of the ledger. The component doesn't read it: it makes
            a ledger that was changed or removed miss TFX's cache.
          pipeline_root: parameter of a run: the folder that `ledger` is relative to.

        Raises:
          SamplingError: the splits are malformed or contradict each other, the distance is out
            of bounds, or `stable` is asked for without a ledger.
        """
        parse_request(splits, assignment=assignment)
        if assignment == STABLE and not ledger:
            raise SamplingError(
                "assignment 'stable' needs a ledger, the file that carries a draw on to the next; "
                "give its path"
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
                }
            )
        )
