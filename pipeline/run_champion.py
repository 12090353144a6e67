"""Which version a run is compared with: the one that serves when the run is begun first.

A run that is repeated, because it was killed or by the same command, would otherwise find the model
that it has released, and be compared with itself. So the champions of the last runs are kept in
`OUTPUT/tfx/champions.json`, by data, settings and code. It is not used if anything but this run has
changed the registry since. Imports no TensorFlow.
"""

import hashlib
import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from components.champion_finder import wanted
from components.code_version import project_version
from components.registry import Registry, RegistryError
from components.whole_file import write_text
from pipeline.settings import Settings

_FILE = "champions.json"
_MAX_RUNS = 100

_KEPT = TypeAdapter(dict[str, int | None])


def run_key(settings: Settings, data_version: str) -> str:
    """Returns a digest of what decides the outcome of a run: data, settings and code.

    Args:
      settings: the pipeline's settings.
      data_version: a digest of the data.
    """
    content = json.dumps([settings.parameters(), data_version, project_version()])
    return hashlib.sha256(content.encode()).hexdigest()


def find(settings: Settings, output: Path, *, data_version: str, registry: Registry) -> str:
    """Finds the champion of a run, and keeps it for the run's repetition.

    Args:
      settings: the pipeline's settings.
      output: output folder of the run.
      data_version: a digest of the data.
      registry: to which the run pushes.

    Returns:
      A version, or that there is none; see `wanted`.

    Raises:
      RegistryError: the registry can't be read.
    """
    path = output / "tfx" / _FILE
    key = run_key(settings, data_version)
    kept, serving = _read(path), registry.serving()
    champion = kept.pop(key, serving)
    if champion != serving and not _has_released(settings, registry, on=champion):
        champion = serving
    last = [*kept.items(), (key, champion)][-_MAX_RUNS:]
    write_text(path, json.dumps(dict(last)))
    return wanted.text(champion)


def _read(path: Path) -> dict[str, int | None]:
    """Returns the champions by the key of the run, oldest first."""
    try:
        return _KEPT.validate_json(path.read_bytes())
    except (OSError, ValidationError):  # none, or damaged: it is replaced
        return {}


def _has_released(settings: Settings, registry: Registry, *, on: int | None) -> bool:
    """Returns whether all that has changed the registry is a push by these settings and code.

    A version that was deleted or damaged since counts as theirs: the repeated run pushes it again.
    """
    state = registry.state()
    last = state.history[-1] if state.history else None
    if last is None or (last.action, last.previous) != ("push", on):
        return False
    try:
        record = registry.record(last.version)
    except RegistryError:
        return True
    made_by = (record.settings, record.lineage.code_version)
    return made_by == (settings.parameters(), project_version())
