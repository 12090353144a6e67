"""Writes the metrics of a training for TensorBoard, under Keras's names."""

import os

import tensorflow as tf

from components.trainer.history import Epoch

_NOT_METRICS = frozenset({"epoch", "phase"})


class TensorBoardLog:
    """Writes the metrics of each epoch, with separate curves for train and val."""

    def __init__(self, folder: str):
        """Sets the log folder."""
        self._writers = {
            side: tf.summary.create_file_writer(os.path.join(folder, side))
            for side in ("train", "validation")
        }

    def write(self, epoch: Epoch) -> None:
        """Adds one epoch."""
        for name, value in epoch.items():
            if name in _NOT_METRICS:
                continue
            side = "validation" if name.startswith("val_") else "train"
            with self._writers[side].as_default(step=epoch["epoch"] - 1):
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
        for writer in self._writers.values():
            writer.flush()
