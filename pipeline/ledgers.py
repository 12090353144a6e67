"""Where a stable draw is carried on to the next, and which earlier draws may be reused with it."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.imbalance_sampler.request import STABLE
from pipeline.settings import ImageSettings


def ledger_places(settings: ImageSettings, output: Path, connection: Any) -> Mapping[str, str]:
    """`ledger` and `ledger_version` of `pipeline.dag.Places`; nothing where no draw needs them.

    The version is the newest draw's, as long as the ledger is as that draw has left it. Where it
    was removed or changed since, no earlier draw may be answered from TFX's cache, and the
    version is a new one.

    Args:
      settings: the pipeline's settings.
      output: folder of the run.
      connection: ConnectionConfig of the metadata in which draws are recorded.

    Raises:
      LedgerError: the ledger can't be used.
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
    """Path of a pipeline's ledger below the folder of its output, or its pipeline root."""
    from components.imbalance_sampler import ledger

    return f"{ledger.FOLDER}/{settings.name}{ledger.SUFFIX}"


def _path(settings: ImageSettings, output: Path) -> str:
    given = settings.sampler.ledger
    if given is None:
        return str(output / ledger_name(settings))
    return given if "://" in given else str(Path(given).absolute())


def _draws(connection: Any) -> list[dict[str, str]]:
    """The custom properties of every draw that was recorded, the newest last."""
    from ml_metadata.metadata_store import MetadataStore

    from components.artifacts import Sampling

    found = MetadataStore(connection).get_artifacts_by_type(Sampling.TYPE_NAME)
    return [
        {key: value.string_value for key, value in artifact.custom_properties.items()}
        for artifact in sorted(found, key=lambda artifact: artifact.id)
    ]
