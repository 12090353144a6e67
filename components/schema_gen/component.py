"""SchemaGen: the schema that the data is checked against."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.schema_gen import executor


class SchemaGenSpec(ComponentSpec):
    """What goes into SchemaGen and what comes out."""

    PARAMETERS = {
        executor.REGISTRY: ExecutionParameter(type=str),
        executor.KEPT_SCHEMA: ExecutionParameter(type=str),
    }
    INPUTS = {names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics)}
    OUTPUTS = {names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema)}


class SchemaGen(BaseComponent):
    """Gives the schema that is kept beside the pushed models; makes one where none is kept.

    Outputs:
      schema: `schema.pbtxt`; of a kept schema also the statistics that it was kept with, and
        `kept.json`, which says when it was.
    """

    SPEC_CLASS = SchemaGenSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: BaseChannel, *, registry: str, kept_schema: str = ""):
        """Describes the step.

        Args:
          statistics: StatisticsGen's, of all images.
          registry: folder of the pushed models, in which the schema is kept.
          kept_schema: `baseline.digest` of the kept schema. The component doesn't read it: it
            makes a schema that was kept or edited since miss TFX's cache. Where it is empty
            because it is unknown, as on a cluster, the step must not be cached.
        """
        super().__init__(
            spec=SchemaGenSpec(
                statistics=statistics,
                registry=registry,
                kept_schema=kept_schema,
                schema=Channel(type=standard_artifacts.Schema),
            )
        )
