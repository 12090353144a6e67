"""TFX's StatisticsGen with the project's executor."""

from tfx.components.statistics_gen import component
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.statistics_gen import executor


class StatisticsGen(component.StatisticsGen):
    """Computes the statistics of examples with TFDV."""

    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)
