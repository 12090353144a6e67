"""SchemaGen: outputs the schema that the data is checked against."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.schema_gen import executor


class SchemaGenSpec(ComponentSpec):
    """Inputs, outputs and parameters of SchemaGen."""

    PARAMETERS = {
        executor.REGISTRY: ExecutionParameter(type=str),
        executor.KEPT_SCHEMA: ExecutionParameter(type=str),
    }
    INPUTS = {names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics)}
    OUTPUTS = {names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema)}


class SchemaGen(BaseComponent):
    """Outputs the schema that is kept with the pushed models; infers one if none is kept.

    Outputs:
      schema: `schema.pbtxt`; for a kept schema also the statistics that it was inferred from,
        and `kept.json`, with the time at which it was kept.
    """

    SPEC_CLASS = SchemaGenSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: BaseChannel, *, registry: str, kept_schema: str = ""):
        """Creates the component.

        Args:
          statistics: StatisticsGen's statistics of all images.
          registry: folder of the pushed models, in which the schema is kept.
          kept_schema: `baseline.digest` of the kept schema. The component doesn't read it: it
            makes TFX's cache miss if the schema was kept or edited in the meantime. If it is
            empty because it is unknown, as on a cluster, the step must not be cached.
        """
        super().__init__(
            spec=SchemaGenSpec(
                statistics=statistics,
                registry=registry,
                kept_schema=kept_schema,
                schema=Channel(type=standard_artifacts.Schema),
            )
        )
