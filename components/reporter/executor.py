"""The Reporter's executor."""

import json
import logging
import os
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from components import example_files, names
from components.checked_artifacts import checked
from components.reporter import metrics, page, record, thumbnails
from components.reporter.files import METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE

TITLE = "title"
SETTINGS = "settings"

_logger = logging.getLogger("outnumbered.reporter")


class Executor(BaseExecutor):
    """Executes the Reporter."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `report.html`, `metrics.json` and the rows of the page, `predictions.parquet`.

        Args:
          input_dict: one artifact per input, see `component.ReporterSpec`.
          output_dict: `report`, one artifact.
          exec_properties: `title`, and the JSON object `settings`.

        Raises:
          ValueError: an image of the predictions is not in the examples.
        """
        uris = {key: artifact_utils.get_single_uri(found) for key, found in input_dict.items()}
        target = artifact_utils.get_single_uri(output_dict[names.REPORT])
        run = record.read(uris)
        figures = metrics.assemble(run, exec_properties[TITLE])
        shards = example_files.split_shards(uris[names.EXAMPLES], run.evaluation["split"])
        wrong = thumbnails.most_wrong(run.predictions, shards)
        html = page.render(run, figures, wrong, json.loads(exec_properties[SETTINGS]))
        _write(os.path.join(target, METRICS_FILE), json.dumps(figures, indent=2, allow_nan=False))
        _write(os.path.join(target, REPORT_FILE), html)
        with fileio.open(os.path.join(target, PREDICTIONS_FILE), "wb") as file:
            file.write(run.predictions.to_parquet(index=False))
        _logger.info("report: %s", os.path.join(target, REPORT_FILE))


def _write(path: str, text: str) -> None:
    fileio.makedirs(os.path.dirname(path))
    with fileio.open(path, "w") as file:
        file.write(text)
