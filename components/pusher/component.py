"""The Pusher: brings a blessed model to where servers find it."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.pusher import executor


class PusherSpec(ComponentSpec):
    """What goes into the Pusher and what comes out."""

    PARAMETERS = {executor.REGISTRY: ExecutionParameter(type=str)}
    INPUTS = {
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {
        names.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(BaseComponent):
    """Pushes a blessed model to a versioned folder; a model that is not blessed stays out.

    Outputs:
      pushed_model: where the model lies, or that it was not pushed.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, model: BaseChannel, blessing: BaseChannel, *, registry: str):
        """Describes the push.

        Args:
          model: the Calibrator's model.
          blessing: the Evaluator's verdict on it.
          registry: folder of the versions; it is made where it is missing.
        """
        super().__init__(
            spec=PusherSpec(
                model=model,
                blessing=blessing,
                registry=registry,
                pushed_model=Channel(type=standard_artifacts.PushedModel),
            )
        )
