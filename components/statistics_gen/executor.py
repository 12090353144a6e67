"""StatisticsGen's executor."""

from typing import Any

from tfx.components.statistics_gen import executor
from tfx.types import Artifact, artifact_utils

from components import artifact_files, names
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
        examples = artifact_utils.get_single_instance(input_dict[names.EXAMPLES])
        for split in artifact_utils.decode_split_names(examples.split_names):
            for shard in split_shards(examples.uri, split):
                shard.check_digest()
        try:
            super().Do(input_dict, output_dict, exec_properties)
        except Exception:  # of Beam or TFDV, which name no file; a damaged record may be the cause
            artifact_files.check(examples.uri, digests=True)
            raise
