"""StatisticsGen's executor."""

from typing import Any

from tfx.components.statistics_gen import executor
from tfx.types import Artifact, artifact_utils

from components import names
from components.checked_artifacts import checked
from components.example_files import split_shards


class Executor(executor.Executor):
    """TFX's executor, which does not check its input itself."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the statistics of each split.

        Args:
          input_dict: `examples`.
          output_dict: `statistics`.
          exec_properties: TFX's.

        Raises:
          DamagedArtifactError: a shard is missing or has changed.
        """
        for artifact in input_dict[names.EXAMPLES]:
            for split in artifact_utils.decode_split_names(artifact.split_names):
                for shard in split_shards(artifact.uri, split):
                    shard.check_digest()
        super().Do(input_dict, output_dict, exec_properties)
