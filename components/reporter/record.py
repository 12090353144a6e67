"""Reads the artifacts of a run."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components import names
from components.calibrator import operating_point
from components.evaluator import blessing, champion_record, predictions, summary
from components.example_validator import findings_file
from components.example_validator.findings import Findings
from components.images import rules
from components.images.rules import ReadingRules
from components.imbalance_sampler import report as sampling_report
from components.pusher import pushed_model

# The page shows at most this many refused images, and says where the complete list is.
_REFUSALS_SHOWN = 20


@dataclass(frozen=True)
class RunRecord:
    """The content of a run's artifacts.

    Attributes:
      evaluation: the Evaluator's metrics, see `components.evaluator.summary`.
      verdict: `blessed`, `reason`, `gates`.
      predictions: one row per image of the evaluated split, including its name and slice columns.
      val_predictions: one row per image that the model was calibrated on.
      operating_point: the threshold, its rule and its metrics on val.
      reading: how images are read; None for a model that does not record it.
      history: the Trainer's history; None if there is none.
      sampling: the sampler's report.
      quarantine: numbers of listed, accepted and refused images.
      refusals: the first of the refused images.
      data_check: ExampleValidator's findings, see `components.example_validator.findings`.
      pushed_to: folder of the pushed model; None if none was pushed.
      champion: the comparison with the champion; None if none was looked for.
    """

    evaluation: dict[str, Any]
    verdict: dict[str, Any]
    predictions: pd.DataFrame
    val_predictions: pd.DataFrame
    operating_point: dict[str, Any]
    reading: ReadingRules | None
    history: dict[str, Any] | None
    sampling: dict[str, Any]
    quarantine: dict[str, Any]
    refusals: list[dict[str, Any]]
    data_check: Findings
    pushed_to: str | None
    champion: dict[str, Any] | None = None

    @property
    def positive_class(self) -> str:
        """The positive class."""
        return self.quarantine["positive_class"]


def read(uris: Mapping[str, str]) -> RunRecord:
    """Reads a run from its artifacts.

    Args:
      uris: URIs by artifact key.
    """
    serving_dir = path_utils.serving_model_dir(uris[names.MODEL])
    evaluation = summary.read(uris[names.EVALUATION])
    evaluated = predictions.read(uris[names.PREDICTIONS])
    return RunRecord(
        evaluation=evaluation,
        verdict=blessing.read_verdict(uris[names.BLESSING]),
        predictions=evaluated.assign(**{names.SPLIT: evaluation["split"]}),
        val_predictions=predictions.read(uris[names.VAL_PREDICTIONS]),
        operating_point=operating_point.read(serving_dir),
        reading=_read_rules(serving_dir),
        history=_read_history(uris[names.MODEL_RUN]),
        sampling=sampling_report.read(uris[names.SAMPLING]),
        quarantine=_read_json(uris[names.QUARANTINE], "summary.json"),
        refusals=_read_refusals(uris[names.QUARANTINE]),
        data_check=findings_file.read(uris[names.ANOMALIES]),
        pushed_to=pushed_model.read_destination(uris[names.PUSHED_MODEL]),
        champion=champion_record.read(uris[names.EVALUATION]),
    )


def _read_rules(serving_dir: str) -> ReadingRules | None:
    path = os.path.join(serving_dir, rules.ASSETS, rules.ASSET_NAME)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "r") as file:
        return ReadingRules.from_json(file.read())


def _read_json(uri: str, name: str) -> dict[str, Any]:
    with fileio.open(os.path.join(uri, name), "r") as file:
        return json.loads(file.read())


def _read_history(uri: str) -> dict[str, Any] | None:
    """Returns the history; None for a model without one, such as one trained elsewhere."""
    if not fileio.exists(os.path.join(uri, "history.json")):
        return None
    history = _read_json(uri, "history.json")
    return history if history.get("epochs") else None


def _read_refusals(uri: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with fileio.open(os.path.join(uri, "quarantine.jsonl"), "r") as file:
        for line in file:
            if len(rows) == _REFUSALS_SHOWN:
                break
            rows.append(json.loads(line))
    return rows
