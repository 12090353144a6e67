"""The model that `--model` names: a folder of a SavedModel, or the one that a registry serves."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from components import artifact_files
from components.registry import RegistryError, open_registry
from components.registry.signing import check_signature

if TYPE_CHECKING:
    from components.saved_model import ServedModel


@dataclass(frozen=True)
class SharedModel:
    """A model that Beam's workers load, also those that don't see this machine's files.

    Attributes:
      folder: absolute path of the SavedModel.
      registry: URI of the registry in a bucket from which `folder` was fetched; empty if it was
        not, in which case the workers must see the folder.
    """

    folder: str
    registry: str

    def load(self) -> "ServedModel":
        """Loads the model, which is fetched if this machine does not have it."""
        from components.saved_model import ServedModel

        if not self.registry or os.path.isdir(self.folder):
            return ServedModel(self.folder)
        version = int(os.path.basename(self.folder))
        with TemporaryDirectory() as temporary:
            return ServedModel(str(open_registry(self.registry).fetch(version, temporary)))


def served_model(model: str, folder: Path) -> Path:
    """Returns a checked folder of a SavedModel.

    Args:
      model: path of a model, or path or URI of a registry, of which the version that serves is
        used.
      folder: receives the version, if the registry is in a bucket.

    Raises:
      RegistryError: `model` is neither, or the model is damaged or wrongly signed.
    """
    path = Path(model)
    if "://" not in model and _is_model(path):
        check_signature(path, str(path))
        return path
    registry = open_registry(model)
    serving = registry.serving()
    if serving is None:
        raise RegistryError(
            "--model must be the folder of a pushed model, or a registry in which a version "
            f"serves. Received: {model}"
        )
    return registry.fetch(serving, folder)


def _is_model(folder: Path) -> bool:
    # A version that has lost its graph must be named, and not another one used.
    return (folder / "saved_model.pb").is_file() or artifact_files.has_list(str(folder))
