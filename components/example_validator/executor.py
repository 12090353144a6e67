"""ExampleValidator's executor."""

import dataclasses
import logging
import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from components import example_files, names
from components.checked_artifacts import checked
from components.example_validator import checks, findings, findings_file
from components.schema_gen import baseline, value_counts

# The name that TFX's own component uses, for tools that show anomalies.
_TFDV_FILE = "SchemaDiff.pb"

_logger = logging.getLogger("outnumbered.example_validator")


class Executor(BaseExecutor):
    """Checks the data against the kept schema."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `findings.json` and, if there is a kept schema, TFDV's anomalies.

        Args:
          input_dict: `statistics` and `schema`, one artifact each.
          output_dict: `anomalies`, one artifact.
          exec_properties: none.
        """
        source = artifact_utils.get_single_instance(input_dict[names.STATISTICS])
        target = artifact_utils.get_single_instance(output_dict[names.ANOMALIES])
        schema = artifact_utils.get_single_uri(input_dict[names.SCHEMA])
        target.split_names, target.span = source.split_names, source.span
        if not baseline.was_kept(schema):
            findings_file.write(findings.not_checked(), target.uri)
            _logger.info(findings.NOT_CHECKED)
            return
        kept = baseline.load(schema)
        statistics = value_counts.read_statistics(value_counts.statistics_path(source.uri))
        by_tfdv, anomalies = checks.find(statistics, kept)
        rows = [dataclasses.asdict(anomaly) for anomaly in anomalies]
        findings_file.write(findings.of_check(kept.origin, rows), target.uri)
        _write(by_tfdv, example_files.split_dir(target.uri, names.ALL))
        _logger.info("%s", "; ".join(map(findings.sentence, rows)) or "no anomaly")


def _write(anomalies: anomalies_pb2.Anomalies, folder: str) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, _TFDV_FILE), "wb") as file:
        file.write(anomalies.SerializeToString(deterministic=True))
