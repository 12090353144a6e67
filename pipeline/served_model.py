"""The model that `--model` names: a folder of a SavedModel, or the one that a registry serves."""

from pathlib import Path

from components import artifact_files
from components.registry import RegistryError, open_registry
from components.registry.signing import check_signature


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
