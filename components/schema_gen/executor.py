"""SchemaGen's executor."""

import logging
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils

from components import names
from components.checked_artifacts import checked
from components.schema_gen import baseline, curation, value_counts

REGISTRY = "registry"
KEPT_SCHEMA = "kept_schema"

_logger = logging.getLogger("outnumbered.schema_gen")


class Executor(BaseExecutor):
    """Outputs the kept schema, or one of this data if none is kept."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `schema.pbtxt`; for a kept schema also its statistics and origin.

        Args:
          input_dict: `statistics`, one artifact.
          output_dict: `schema`, one artifact.
          exec_properties: `registry`, a folder.

        Raises:
          SchemaError: the kept schema can't be read.
        """
        target = artifact_utils.get_single_uri(output_dict[names.SCHEMA])
        kept = baseline.read_kept(exec_properties[REGISTRY])
        if kept is not None:
            baseline.write(kept, target)
            _logger.info("kept schema of version %d: %s", kept.origin["version"], kept.origin)
            return
        uri = artifact_utils.get_single_uri(input_dict[names.STATISTICS])
        statistics = value_counts.read_statistics(value_counts.statistics_path(uri))
        baseline.write_schema(curation.curate(statistics), target)
        _logger.info("no schema has been kept yet; this one is kept if the model is blessed")
