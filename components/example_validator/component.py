"""ExampleValidator: checks the data against the kept schema."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from components import names
from components.example_validator import executor


class ExampleValidatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of ExampleValidator."""

    PARAMETERS = {}
    INPUTS = {
        names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics),
        names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {names.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class ExampleValidator(BaseComponent):
    """Checks all images against the kept schema; without one, it records that nothing was checked.

    Outputs:
      anomalies: `findings.json`, see `findings`, and TFDV's `Split-all/SchemaDiff.pb`.
    """

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: BaseChannel, schema: BaseChannel):
        """Creates the component.

        Args:
          statistics: StatisticsGen's statistics of all images.
          schema: SchemaGen's schema.
        """
        super().__init__(
            spec=ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                anomalies=Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
