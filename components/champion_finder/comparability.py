"""Whether a champion can be compared with a challenger. The champion is not loaded for it."""

import json
from pathlib import Path

import tensorflow as tf
from pydantic import BaseModel, ConfigDict, ValidationError
from tensorflow.core.protobuf import saved_model_pb2

from components import names
from components.calibrator import operating_point
from components.registry.record import RECORD_FILE

_SAVED_MODEL = "saved_model.pb"


class RefusedChampionError(ValueError):
    """A champion that can't be compared with a challenger; the message says why."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    positive_class: str


class _Settings(BaseModel):
    model_config = ConfigDict(extra="ignore")

    data: _Data


def check(folder: str | Path, positive_class: str) -> None:
    """Checks that a champion predicts the same class, by a signature for encoded images.

    Image size, architecture and the other classes may differ. The class of a version of an earlier
    release, which has no record, is not known and not checked.

    Args:
      folder: folder of the version.
      positive_class: the challenger's.

    Raises:
      RefusedChampionError: the champion can't be compared.
    """
    found = _positive_class(Path(folder))
    if found is not None and found != positive_class:
        raise RefusedChampionError(
            f"its positive class must be {positive_class!r}, as that of this run. "
            f"Received: {found!r}"
        )
    threshold(folder)


def threshold(folder: str | Path) -> float:
    """Returns the champion's own threshold, after a check of its signature.

    Args:
      folder: folder of the SavedModel.

    Raises:
      RefusedChampionError: it has no signature that takes encoded images and returns a
        probability, or no operating point.
    """
    saved = saved_model_pb2.SavedModel.FromString(Path(folder, _SAVED_MODEL).read_bytes())
    signatures = saved.meta_graphs[0].signature_def if saved.meta_graphs else {}
    if names.PREDICT_IMAGES not in signatures:
        raise RefusedChampionError(
            f"it must have a signature {names.PREDICT_IMAGES!r}. "
            f"Received: {sorted(name for name in signatures if not name.startswith('__'))}"
        )
    signature = signatures[names.PREDICT_IMAGES]
    kinds = [each.dtype for each in signature.inputs.values()]
    if kinds != [tf.string.as_datatype_enum] or names.PROBABILITY not in signature.outputs:
        raise RefusedChampionError(
            f"its signature {names.PREDICT_IMAGES!r} must take encoded images and return "
            f"{names.PROBABILITY!r}. Received: {sorted(signature.inputs)} to "
            f"{sorted(signature.outputs)}"
        )
    try:
        return float(operating_point.read(str(folder))["threshold"])
    except FileNotFoundError as error:
        raise RefusedChampionError(str(error)) from error


def _positive_class(folder: Path) -> str | None:
    try:
        settings = json.loads((folder / RECORD_FILE).read_bytes()).get("settings")
        return _Settings.model_validate(settings).data.positive_class
    except (FileNotFoundError, ValidationError):  # of an earlier release, or another tool
        return None
