"""ChampionFinder: finds the model that is serving, in the registry."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.artifacts import Champion
from components.champion_finder import executor, wanted


class ChampionFinderSpec(ComponentSpec):
    """Output and parameters of ChampionFinder."""

    PARAMETERS = {
        executor.REGISTRY: ExecutionParameter(type=str),
        executor.SERVING_VERSION: ExecutionParameter(type=str),
        executor.POSITIVE_CLASS: ExecutionParameter(type=str),
        executor.REQUIRED: ExecutionParameter(type=str),
        executor.CODE_VERSION: ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {names.CHAMPION: ChannelParameter(type=Champion)}


class ChampionFinder(BaseComponent):
    """Copies the serving version of a registry, after its check, into an artifact.

    Outputs:
      champion: `champion.json`, and the model, if there is one that is intact.
    """

    SPEC_CLASS = ChampionFinderSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        registry: str,
        positive_class: str,
        serving_version: str = wanted.SERVING,
        required: wanted.Requirement = "",
        code_version: str = "",
    ):
        """Creates the component.

        Args:
          registry: folder or URI of the registry, which need not exist.
          positive_class: the challenger's; a champion of another class can't be compared.
          serving_version: the champion: a version, `none`, or empty for the one that serves once
            the step runs, which must then not be cached.
          required: what the run can't do without, see `wanted.Requirement`; otherwise the output
            says what is wrong with the champion.
          code_version: a digest of the project's code. The component doesn't read it: it makes
            TFX's cache miss after a change of the code.
        """
        super().__init__(
            spec=ChampionFinderSpec(
                registry=registry,
                serving_version=serving_version,
                positive_class=positive_class,
                required=required,
                code_version=code_version,
                champion=Channel(type=Champion),
            )
        )
