"""The Pusher: brings a blessed model to where servers find it."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.pusher import executor


class PusherSpec(ComponentSpec):
    """What goes into the Pusher and what comes out."""

    PARAMETERS = {
        executor.REGISTRY: ExecutionParameter(type=str),
        executor.KEPT_SCHEMA: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
        names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {
        names.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(BaseComponent):
    """Pushes a blessed model to a versioned folder; a model that is not blessed stays out.

    With the first blessed model goes the schema of its data, for later data to be checked
    against; see `components.schema_gen.baseline`.

    Outputs:
      pushed_model: where the model lies, or that it was not pushed.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        model: BaseChannel,
        blessing: BaseChannel,
        schema: BaseChannel,
        statistics: BaseChannel,
        registry: str,
        kept_schema: str = "",
    ):
        """Describes the push.

        Args:
          model: the Calibrator's model.
          blessing: the Evaluator's verdict on it.
          schema: SchemaGen's.
          statistics: StatisticsGen's, that a schema which is not kept yet was made from.
          registry: folder of the versions; it is made where it is missing.
          kept_schema: a digest of the kept schema; where none is kept, a text that no run had
            before. The component doesn't read it: it makes a push that is to keep a schema
            miss TFX's cache.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                blessing=blessing,
                schema=schema,
                statistics=statistics,
                registry=registry,
                kept_schema=kept_schema,
                pushed_model=Channel(type=standard_artifacts.PushedModel),
            )
        )
