"""The StudyReporter's executor."""

import io
import json
import logging
import os
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from components import names
from components.study_reporter import record, summary, tables

TITLE = "title"
ARMS = "arms"
STUDY = "study"
HTML_FILE = "study.html"
JSON_FILE = "study.json"
RUNS_FILE = "runs.csv"
PREDICTIONS_FILE = "predictions.parquet"

_logger = logging.getLogger("outnumbered.study_reporter")


def input_key(index: int) -> str:
    """The key of the input that holds the arm of this place, from 0."""
    return f"arm_{index:02d}"


class Executor(BaseExecutor):
    """Compares the arms of a study and writes down what it came to."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `study.html`, `study.json`, `runs.csv` and `predictions.parquet`.

        Args:
          input_dict: one artifact an arm, see `input_key`.
          output_dict: `study_report`, one artifact.
          exec_properties: `title`, the JSON list `arms` of their names in order, and the JSON
            object `study`.

        Raises:
          ValueError: the arms do not fit together or the study names one that is not there.
        """
        # With it come the libraries that draw, for which a pod's start need not wait.
        from components.study_reporter import page

        arms = [
            record.read(artifact_utils.get_single_uri(input_dict[input_key(index)]), name)
            for index, name in enumerate(json.loads(exec_properties[ARMS]))
        ]
        target = artifact_utils.get_single_uri(output_dict[names.STUDY_REPORT])
        study = json.loads(exec_properties[STUDY])
        tests = summary.judge(arms, summary.real_prevalence(arms, study.get("prevalence")))
        figures = summary.summarize(arms, tests, title=exec_properties[TITLE], study=study)
        text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
        _write(target, JSON_FILE, text.encode())
        _write(target, RUNS_FILE, tables.runs(arms, tests).encode())
        _write(target, PREDICTIONS_FILE, _parquet(arms))
        _write(target, HTML_FILE, page.render(figures, tests).encode())
        _logger.info("study: %s", os.path.join(target, HTML_FILE))


def _parquet(arms: list[record.Arm]) -> bytes:
    buffer = io.BytesIO()
    tables.predictions(arms).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _write(folder: str, name: str, content: bytes) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, name), "wb") as file:
        file.write(content)
