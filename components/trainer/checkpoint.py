"""Where a training that was cut off goes on from."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tfx.dsl.io import fileio

from components.code_version import project_version
from components.trainer import arrays, weights
from components.trainer.data import Split
from components.trainer.history import Epoch
from components.trainer.settings import TrainerSettings

_LOGGER = logging.getLogger("outnumbered.trainer")

Arrays = list[np.ndarray]


@dataclass
class TrainingState:
    """All that the next epoch depends on.

    Attributes:
      epochs: the figures of those done.
      variables: of the trained model and its optimizer after the last of them.
      best: weights of the trained model after the best of them; None where the last are
        kept whatever they are worth.
    """

    epochs: list[Epoch] = field(default_factory=list)
    variables: Arrays | None = None
    best: Arrays | None = None


class Checkpoint:
    """A folder that holds the state of one training, and is gone when that is done."""

    def __init__(self, folder: str):
        """Names the folder; it is made when something is written.

        Args:
          folder: local or remote, of this training alone.
        """
        self.folder = folder
        self._path = os.path.join(folder, "state.npz")

    def save(self, state: TrainingState) -> None:
        """Replaces what was saved before; a crash meanwhile leaves that whole."""
        kept = {
            "epochs": np.array(json.dumps(state.epochs)),
            **arrays.numbered("variable", state.variables),
            **arrays.numbered("best", state.best),
        }
        arrays.save(self._path, kept)

    def load(self) -> TrainingState:
        """The state last saved, or that of a training not yet begun."""
        kept = arrays.load(self._path)
        if kept is None:
            return TrainingState()
        state = TrainingState(
            epochs=json.loads(str(kept["epochs"])),
            variables=arrays.in_order("variable", kept) or None,
            best=arrays.in_order("best", kept) or None,
        )
        _LOGGER.info("going on after epoch %d of an interrupted training", len(state.epochs))
        return state

    def clear(self) -> None:
        """Removes the folder."""
        if fileio.exists(self.folder):
            fileio.rmtree(self.folder)


def training_identity(settings: TrainerSettings, splits: Sequence[Split]) -> str:
    """A digest that two trainings share exactly when they would come to the same model.

    It is made of the settings, the images, the content of the file of weights, and the code:
    what a training has left is not continued by other code.
    """
    return identity([*origin(settings), *(split.digest for split in splits)])


def origin(settings: TrainerSettings) -> list[Any]:
    """What a training depends on beside its images, as plain JSON values."""
    return [settings.model_dump(), weights.version(settings.weights), project_version()]


def identity(content: Sequence[Any]) -> str:
    """A digest of plain JSON values, as 32 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
