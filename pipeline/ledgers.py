"""The ledger of a stable draw: its path, and the version that decides which draws are reused."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.imbalance_sampler.request import STABLE
from pipeline.settings import ImageSettings


def ledger_places(settings: ImageSettings, output: Path, connection: Any) -> Mapping[str, str]:
    """`ledger` and `ledger_version` of `pipeline.dag.Places`; empty if the draw is not stable.

    The version is that of the newest draw if the ledger has not changed since. If it was changed
    or removed, the version is new, so that no earlier draw is reused from TFX's cache.

    Args:
      settings: the pipeline's settings.
      output: output folder of the run.
      connection: ConnectionConfig of the metadata store with the recorded draws.

    Raises:
      LedgerError: the ledger is invalid or can't be read.
    """
    if settings.sampler.assignment != STABLE:
        return {}
    from components.imbalance_sampler import executor, ledger

    path = _path(settings, output)
    digest = ledger.read(path).digest
    draws = [draw for draw in _draws(connection) if draw.get(executor.LEDGER) == path]
    if digest and draws and draws[-1][executor.LEDGER_DIGEST] == digest:
        version = draws[-1][executor.LEDGER_VERSION]
    else:
        version = uuid.uuid4().hex
    return {"ledger": path, "ledger_version": version}


def ledger_name(settings: ImageSettings) -> str:
    """Path of a pipeline's ledger, relative to its output folder or its pipeline root."""
    from components.imbalance_sampler import ledger

    return f"{ledger.FOLDER}/{settings.name}{ledger.SUFFIX}"


def _path(settings: ImageSettings, output: Path) -> str:
    given = settings.sampler.ledger
    if given is None:
        return str(output / ledger_name(settings))
    return given if "://" in given else str(Path(given).absolute())


def _draws(connection: Any) -> list[dict[str, str]]:
    """The custom properties of every recorded draw, newest last."""
    from ml_metadata.metadata_store import MetadataStore

    from components.artifacts import Sampling

    found = MetadataStore(connection).get_artifacts_by_type(Sampling.TYPE_NAME)
    return [
        {key: value.string_value for key, value in artifact.custom_properties.items()}
        for artifact in sorted(found, key=lambda artifact: artifact.id)
    ]
