"""ExampleValidator: is the data what it was when the schema was kept?"""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from components import names
from components.example_validator import executor


class ExampleValidatorSpec(ComponentSpec):
    """What goes into ExampleValidator and what comes out."""

    PARAMETERS = {}
    INPUTS = {
        names.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics),
        names.SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {names.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class ExampleValidator(BaseComponent):
    """Checks all images against the kept schema; where none is kept, it says so.

    Outputs:
      anomalies: `findings.json`, see `findings`, and TFDV's `Split-all/SchemaDiff.pb`.
    """

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, statistics: BaseChannel, schema: BaseChannel):
        """Describes the check.

        Args:
          statistics: StatisticsGen's, of all images.
          schema: SchemaGen's.
        """
        super().__init__(
            spec=ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                anomalies=Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
