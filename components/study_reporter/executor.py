"""Executor of the StudyReporter."""

import io
import json
import logging
import os
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from components import names
from components.checked_artifacts import checked
from components.study_reporter import curve, frontier, quality, record, summary, tables
from components.trainer.settings import TrainerSettings

TITLE = "title"
ARMS = "arms"
STUDY = "study"
CURVE = "curve"
"""Key of a learning curve's input, and of its part of the study; also its name as an arm."""
HTML_FILE = "study.html"
JSON_FILE = "study.json"
RUNS_FILE = "runs.csv"
PREDICTIONS_FILE = "predictions.parquet"

_logger = logging.getLogger("outnumbered.study_reporter")


def input_key(index: int) -> str:
    """Returns the key of an arm's input, by its index from 0."""
    return f"arm_{index:02d}"


class Executor(BaseExecutor):
    """Compares the arms of a study and writes the report."""

    @checked
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `study.html`, `study.json`, `runs.csv` and `predictions.parquet`.

        Args:
          input_dict: one artifact per arm, see `input_key`, and that of a learning curve.
          output_dict: `study_report`, one artifact.
          exec_properties: `title`, `arms` (the names in order, as a JSON list), and `study` (a
            JSON object).

        Raises:
          ValueError: the arms are not comparable, or the study names an arm that does not exist.
        """
        # Imported here, since it imports the plotting libraries, which delay the start of the pod.
        from components.study_reporter import page

        arms = [
            record.read(artifact_utils.get_single_uri(input_dict[input_key(index)]), name)
            for index, name in enumerate(json.loads(exec_properties[ARMS]))
        ]
        target = artifact_utils.get_single_uri(output_dict[names.STUDY_REPORT])
        study = json.loads(exec_properties[STUDY])
        prevalence = summary.real_prevalence(arms, study.get("prevalence"))
        tests = summary.evaluate(arms, prevalence, quality.costs_of(study))
        found = None
        if CURVE in input_dict:
            points = record.read(artifact_utils.get_single_uri(input_dict[CURVE]), CURVE)
            found = curve.of_study(points, prevalence, **study.pop(CURVE))
        figures = summary.summarize(
            arms, tests, title=exec_properties[TITLE], study=study, curve=found
        )
        figures["frontier"] = summary.plain(frontier.of_arms(figures["arms"], _network_cost))
        text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
        _write(target, JSON_FILE, text.encode())
        _write(target, RUNS_FILE, tables.runs(arms, tests).encode())
        _write(target, PREDICTIONS_FILE, _parquet(arms))
        _write(target, HTML_FILE, page.render(figures, tests).encode())
        _logger.info("report: %s", os.path.join(target, HTML_FILE))


def _network_cost(settings: TrainerSettings) -> Any:
    # Imported here, as TensorFlow and Keras delay the start of the pod.
    from components.trainer.network_cost import network_cost

    return network_cost(settings)


def _parquet(arms: list[record.Arm]) -> bytes:
    buffer = io.BytesIO()
    tables.predictions(arms).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _write(folder: str, name: str, content: bytes) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, name), "wb") as file:
        file.write(content)
