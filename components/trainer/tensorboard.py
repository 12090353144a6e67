"""A training's figures for TensorBoard, under the names that Keras gives them."""

import os

import tensorflow as tf

from components.trainer.history import Epoch

_NOT_FIGURES = frozenset({"epoch", "phase"})


class TensorBoardLog:
    """Writes each epoch's figures, those on val as a curve beside those on train."""

    def __init__(self, folder: str):
        """Names the folder that TensorBoard is pointed to."""
        self._writers = {
            side: tf.summary.create_file_writer(os.path.join(folder, side))
            for side in ("train", "validation")
        }

    def write(self, epoch: Epoch) -> None:
        """Adds one epoch."""
        for name, value in epoch.items():
            if name in _NOT_FIGURES:
                continue
            side = "validation" if name.startswith("val_") else "train"
            with self._writers[side].as_default(step=epoch["epoch"] - 1):
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
        for writer in self._writers.values():
            writer.flush()
