"""The Pusher: copies a blessed model to the registry, where servers load it."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.artifacts import Sampling
from components.pusher import executor


class PusherSpec(ComponentSpec):
    """Inputs, outputs and parameters of the Pusher."""

    PARAMETERS = {
        executor.REGISTRY: ExecutionParameter(type=str),
        executor.KEPT_SCHEMA: ExecutionParameter(type=str),
        executor.SETTINGS: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
        names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics),
        names.EVALUATION: ChannelParameter(type=standard_artifacts.ModelEvaluation, optional=True),
        names.SAMPLING: ChannelParameter(type=Sampling, optional=True),
    }
    OUTPUTS = {
        names.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(BaseComponent):
    """Pushes a blessed model to the registry, with a record; other models are not pushed.

    With the first blessed model the schema of its data is kept, against which later data is
    checked; see `components.schema_gen.baseline`.

    Outputs:
      pushed_model: the path of the pushed model, or that none was pushed.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - one argument per input
        self,
        *,
        model: BaseChannel,
        blessing: BaseChannel,
        schema: BaseChannel,
        statistics: BaseChannel,
        registry: str,
        kept_schema: str = "",
        evaluation: BaseChannel | None = None,
        sampling: BaseChannel | None = None,
        settings: Mapping[str, Any] | None = None,
    ):
        """Creates the component.

        Args:
          model: the Calibrator's model.
          blessing: the Evaluator's verdict on it.
          schema: SchemaGen's schema.
          statistics: StatisticsGen's statistics, from which a new schema is inferred.
          registry: folder or URI of the versions; it is created if it does not exist.
          kept_schema: digest of the kept schema; without one, a text that is unique to the
            run. The component doesn't read it: it makes TFX's cache miss if a schema is to be
            kept.
          evaluation: the Evaluator's metrics, for the version's record.
          sampling: the sampler's report, for the record's fingerprint of the data.
          settings: all settings of the run, for the record.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                blessing=blessing,
                schema=schema,
                statistics=statistics,
                registry=registry,
                kept_schema=kept_schema,
                settings=json.dumps(settings or {}),
                evaluation=evaluation,
                sampling=sampling,
                pushed_model=Channel(type=standard_artifacts.PushedModel),
            )
        )
