"""The record of the version that a run pushes, from the run's artifacts."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from tfx.dsl.io import fileio
from tfx.types import Artifact
from tfx.utils import path_utils

from components import names
from components.calibrator import operating_point
from components.code_version import project_version
from components.evaluator import blessing, summary
from components.evaluator.champion_record import FILE as _COMPARISON_FILE
from components.evaluator.champion_record import State
from components.imbalance_sampler import report as sampling_report
from components.registry import MakeRecord, VersionRecord
from components.registry.record import Data, Lineage, Metrics
from components.trainer.settings import TrainerSettings


class _Champion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    state: State = State.FIRST_MODEL
    version: int | None = None


def read(
    artifacts: Mapping[str, Artifact], settings: Mapping[str, Any], run: str | None
) -> MakeRecord:
    """Reads what the record of a version has, apart from its number.

    Args:
      artifacts: the run's artifacts by key: `model`, `blessing`, and, if they are to be recorded,
        `evaluation` and `sampling`.
      settings: all settings of the run; empty if they are unknown.
      run: id of the run; None if it is unknown.

    Returns:
      The function that makes the record.
    """
    uris = {key: artifact.uri for key, artifact in artifacts.items()}
    verdict = blessing.read_verdict(uris[names.BLESSING])
    champion = _champion(uris.get(names.EVALUATION))
    point = _operating_point(path_utils.serving_model_dir(uris[names.MODEL]))
    known = VersionRecord(
        version=1,
        created=datetime.now(UTC).replace(microsecond=0),
        blessed=verdict["blessed"],
        reason=verdict["reason"],
        operating_point=point,
        calibration=point.pop(operating_point.CALIBRATION, None) if point else None,
        metrics=_metrics(uris.get(names.EVALUATION)),
        settings=dict(settings) or None,
        data=_data(uris.get(names.SAMPLING)),
        lineage=Lineage(
            run=run,
            code_version=project_version(),
            champion=champion.version if champion.state is State.COMPARED else None,
            warm_start=champion.version if _is_warm_started(settings) else None,
            artifacts={key: _lasting_uri(artifact) for key, artifact in artifacts.items()},
        ),
    )
    return lambda version: known.model_copy(update={"version": version})


def _lasting_uri(artifact: Artifact) -> str:
    """The URI that is valid after the run: in a pod, artifacts are copied to local folders."""
    return artifact.get_string_custom_property(names.GIVEN_URI) or artifact.uri


def _is_warm_started(settings: Mapping[str, Any]) -> bool:
    trainer = TrainerSettings.model_validate(settings.get("trainer", {}))
    # A head that is solved does not depend on the weights that it begins with, and gets none.
    return trainer.warm_start is not None and not trainer.solves_head


def _operating_point(serving_dir: str) -> dict[str, Any] | None:
    try:
        return operating_point.read(serving_dir)
    except FileNotFoundError:  # a model that another tool has exported
        return None


def _metrics(evaluation: str | None) -> Metrics | None:
    if evaluation is None:
        return None
    found = summary.read(evaluation)
    return Metrics.model_validate({key: found[key] for key in Metrics.model_fields})


def _data(sampling: str | None) -> Data | None:
    found = sampling and sampling_report.read(sampling).get(sampling_report.DATA)
    if not found:
        return None
    return Data.model_validate({key: found[key] for key in Data.model_fields})


def _champion(evaluation: str | None) -> _Champion:
    content = _content(evaluation, _COMPARISON_FILE)
    return _Champion() if content is None else _Champion.model_validate_json(content)


def _content(uri: str | None, name: str) -> str | None:
    path = os.path.join(uri or "", name)
    if uri is None or not fileio.exists(path):
        return None
    with fileio.open(path, "r") as file:
        return file.read()
