"""Reads the folder of a finished run: its figures, settings and predictions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from components import names
from components.reporter.files import METRICS_FILE, PREDICTIONS_FILE

SETTINGS_FILE = "settings.yaml"
_REQUIRED = (
    *(names.IMAGE_ID, names.URI, names.CLASS_NAME),
    *(names.LABEL, names.PROBABILITY, names.IS_POSITIVE),
)


class RunFolderError(ValueError):
    """A path has no run that can be compared; the message says what to do."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that can be compared.

    Attributes:
      folder: contains the files.
      metrics: content of `metrics.json`.
      settings: content of `settings.yaml`; empty if there is none, as on Kubeflow.
      predictions: one row per image of the evaluated split, indexed by image_id.
    """

    folder: Path
    metrics: dict[str, Any]
    settings: dict[str, Any]
    predictions: pd.DataFrame


def read(path: Path) -> FinishedRun:
    """Reads a run.

    Args:
      path: the folder of a run, or an output folder, of which the latest run is read.

    Raises:
      RunFolderError: there is no run, a file is damaged, or the run was made by a version that
        did not keep its predictions.
    """
    folder = _folder(path)
    predictions = folder / PREDICTIONS_FILE
    if not predictions.is_file():
        raise RunFolderError(
            f"the run in {folder} has no {PREDICTIONS_FILE}: an older version made it; run it "
            "again with the same --output, which reuses everything but the report"
        )
    return FinishedRun(
        folder=folder,
        metrics=_parsed(folder / METRICS_FILE, json.loads),
        settings=_settings(folder / SETTINGS_FILE),
        predictions=_rows(predictions),
    )


def _folder(path: Path) -> Path:
    for folder in (path, path / "latest"):
        if (folder / METRICS_FILE).is_file():
            return folder.resolve()
    raise RunFolderError(
        f"{path} must be the folder of a finished run, or the --output of one: neither it nor "
        f"{path / 'latest'} has a {METRICS_FILE}"
    )


def _settings(path: Path) -> dict[str, Any]:
    return _parsed(path, yaml.safe_load) if path.is_file() else {}


def _parsed(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunFolderError(_damaged(path, error)) from error
    if not isinstance(content, dict):
        raise RunFolderError(_damaged(path, "it must hold an object"))
    return content


def _rows(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these classes
        raise RunFolderError(_damaged(path, error)) from error
    if missing := set(_REQUIRED) - set(rows.columns):
        raise RunFolderError(_damaged(path, f"the columns {sorted(missing)} are missing"))
    return rows.set_index(names.IMAGE_ID).sort_index()


def _damaged(path: Path, why: object) -> str:
    return f"{path} can't be read ({why}); run again with the same --output to write it anew"
