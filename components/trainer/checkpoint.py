"""Saves the state of a training, from which an interrupted training resumes."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tfx.dsl.io import fileio

from components import checked_file
from components.code_version import project_version
from components.trainer import arrays, units, weights
from components.trainer.data import Split
from components.trainer.history import Epoch
from components.trainer.settings import TrainerSettings

_LOGGER = logging.getLogger("outnumbered.trainer")

Arrays = list[np.ndarray]


@dataclass
class TrainingState:
    """Everything that the next epoch depends on.

    Attributes:
      epochs: the metrics of the finished epochs.
      variables: variables of the trained model and its optimizer after the last epoch.
      best: weights of the trained model after the best epoch; None if the last is kept.
    """

    epochs: list[Epoch] = field(default_factory=list)
    variables: Arrays | None = None
    best: Arrays | None = None


class Checkpoint:
    """A folder with the state of one training, which is removed at the end of the training."""

    def __init__(self, folder: str):
        """Sets the folder, which is created when something is written.

        Args:
          folder: local or remote folder, used by this training only.
        """
        self.folder = folder
        self._path = os.path.join(folder, "state.npz")

    def save(self, state: TrainingState) -> None:
        """Replaces the saved state atomically: a crash leaves the previous one."""
        kept = {
            "epochs": np.array(json.dumps(state.epochs)),
            **arrays.numbered("variable", state.variables),
            **arrays.numbered("best", state.best),
        }
        checked_file.write(self._path, arrays.packed(kept))

    def load(self) -> TrainingState:
        """Returns the saved state, or the initial state if there is none or it is damaged."""
        content = checked_file.read(self._path)
        if content is None:
            return TrainingState()
        kept = arrays.unpacked(content)
        state = TrainingState(
            epochs=json.loads(str(kept["epochs"])),
            variables=arrays.in_order("variable", kept) or None,
            best=arrays.in_order("best", kept) or None,
        )
        _LOGGER.info("resuming after epoch %d of an interrupted training", len(state.epochs))
        return state

    def clear(self) -> None:
        """Removes the folder."""
        if fileio.exists(self.folder):
            fileio.rmtree(self.folder)


def training_identity(
    settings: TrainerSettings, splits: Sequence[Split], *, champion: str = ""
) -> str:
    """Returns a digest that two trainings share if and only if they would give the same model.

    It covers the settings, the images, the units that bind some of them, the content of the weights
    file, and the code: an interrupted training is not resumed by other code.

    Args:
      settings: the trainer's settings.
      splits: the images.
      champion: digest of the champion's weights; empty without a warm start.
    """
    bound = [each for split in splits for each in units.origin(split.units)]
    return identity([*origin(settings), *(split.digest for split in splits), champion, *bound])


def origin(settings: TrainerSettings) -> list[Any]:
    """Returns what a training depends on, except for its images, as plain JSON values."""
    return [
        settings.model_dump(),
        weights.version(settings.weights, settings.model),
        project_version(),
    ]


def identity(content: Sequence[Any]) -> str:
    """Returns a digest of plain JSON values, 32 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
