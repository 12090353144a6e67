"""The Champion artifact: `champion.json`, and in `model` the version that serves."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tfx.dsl.io import fileio

from components.champion_finder import comparability, wanted
from components.champion_finder.comparability import RefusedChampionError
from components.registry import open_registry
from components.registry.errors import RegistryError

_FILE = "champion.json"
MODEL = "model"


@dataclass(frozen=True)
class FoundChampion:
    """The champion of a registry.

    Attributes:
      version: the version that serves; None if none does.
      registry: the registry.
      reason: why there is no champion, or why it can't be compared; empty if it can.
    """

    version: int | None
    registry: str
    reason: str

    @property
    def name(self) -> str:
        """The champion in words."""
        return f"version {self.version} of {self.registry}"


@dataclass(frozen=True)
class Request:
    """What is asked of a registry.

    Attributes:
      registry: folder or URI of the registry, which need not exist.
      version: see `wanted`.
      positive_class: the challenger's.
      required: what the run can't do without.
    """

    registry: str
    version: str
    positive_class: str
    required: wanted.Requirement = ""


def find(request: Request, uri: str) -> FoundChampion:
    """Finds the champion and copies it into the artifact at `uri`.

    A champion that is damaged or can't be compared is an error if the run requires it; otherwise
    the artifact says why.

    Args:
      request: what is asked.
      uri: URI of the Champion artifact.

    Raises:
      RegistryError: the registry can't be read, or the champion is not as the run requires.
    """
    version = _version(request)
    with tempfile.TemporaryDirectory() as folder:
        model, found = _found(request, version, Path(folder) / MODEL)
        if model is not None:
            _copy(model, os.path.join(uri, MODEL))
    fileio.makedirs(uri)
    with fileio.open(os.path.join(uri, _FILE), "w") as file:
        file.write(json.dumps(asdict(found), ensure_ascii=False))
    return found


def check(request: Request) -> None:
    """Checks the champion, if the run requires one, before the run.

    A copy of the champion that is reused would not show that the champion was damaged since.

    Args:
      request: what is asked.

    Raises:
      RegistryError: as `find`.
    """
    if request.required:
        with tempfile.TemporaryDirectory() as folder:
            _found(request, _version(request), Path(folder) / MODEL)


def read(uri: str) -> FoundChampion:
    """Reads the artifact at `uri`."""
    with fileio.open(os.path.join(uri, _FILE), "r") as file:
        return FoundChampion(**json.loads(file.read()))


def model_folder(uri: str) -> str:
    """Returns the folder of the champion's SavedModel."""
    return os.path.join(uri, MODEL)


def _version(request: Request) -> int | None:
    if request.version == wanted.SERVING:
        return open_registry(request.registry).serving()
    return wanted.number(request.version)


def _found(
    request: Request, version: int | None, folder: Path
) -> tuple[Path | None, FoundChampion]:
    """Returns the folder of the champion's files, None if there are none, and what was found."""
    registry = request.registry
    if version is None:
        reason = "the registry has no serving version, so this is the first model"
        return None, FoundChampion(None, registry, reason)
    try:
        model = open_registry(registry).fetch(version, folder)
    except RegistryError as error:
        reason = f"the champion, version {version} of {registry}, can't be used: {error}"
        if request.required:
            raise RegistryError(reason) from error
        return None, FoundChampion(version, registry, reason)
    reason = ""
    try:
        comparability.check(model, request.positive_class)
    except RefusedChampionError as error:
        reason = f"the champion, version {version} of {registry}, can't be compared: {error}"
        if request.required == wanted.COMPARISON:
            raise RegistryError(
                f"{reason}. Remove the gates on the champion for this run, or let another version "
                "serve (`outnumbered models rollback`)"
            ) from error
    return model, FoundChampion(version, registry, reason)


def _copy(source: Path, target: str) -> None:
    """Copies a folder to a path or URI."""
    if "://" not in target:
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy = os.path.join(target, path.relative_to(source).as_posix())
            fileio.makedirs(os.path.dirname(copy))
            fileio.copy(str(path), copy, overwrite=True)
