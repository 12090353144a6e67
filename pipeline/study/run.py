"""Runs a study on this machine."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.code_version import project_version
from pipeline import local, metadata_store
from pipeline.ledgers import ledger_places
from pipeline.study.settings import StudySettings

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline

STUDY_FILE = "study.json"
REPORT_FILE = "study.html"


@dataclass(frozen=True)
class StudyResult:
    """The result of a finished study.

    Attributes:
      folder: contains the report, figures, settings and log.
      study: the content of `study.json`.
    """

    folder: Path
    study: dict[str, Any]

    @property
    def report(self) -> Path:
        """The HTML page of the study."""
        return self.folder / REPORT_FILE


def run_study(
    study: StudySettings, output: Path, *, data_version: str, use_cache: bool = True
) -> StudyResult:
    """Trains every arm that is not cached and writes the report.

    Args:
      study: the study's settings.
      output: output folder; a second run in it reuses everything unchanged.
      data_version: a digest of the data; changed data is read again.
      use_cache: reuse the outputs of earlier runs.

    Raises:
      RunError: the folder is not writable or in use, or a component failed.
    """

    def make_dag(output: Path, *, enable_cache: bool) -> "Pipeline":
        from pipeline.dag import Places
        from pipeline.study.dag import build

        connection = metadata_store.connection(output)
        places = Places(
            pipeline_root=str(output / "tfx" / "artifacts"),
            registry=str(output / "registry"),
            checkpoints=str(output / "tfx" / "checkpoints"),
            features=str(Path(study.feature_store or output / "features").absolute()),
            span_store=local.span_store(output),
            data_version=data_version,
            code_version=project_version(),
            **ledger_places(study, output, connection),
        )
        return build(study, places, connection=connection, enable_cache=enable_cache)

    folder = local.execute(study, output, make_dag, result="StudyReport", use_cache=use_cache)
    return StudyResult(folder, json.loads((folder / STUDY_FILE).read_text(encoding="utf-8")))
