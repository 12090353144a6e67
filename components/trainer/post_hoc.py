"""Logit adjustment after training: the scores of a trained network, shifted by the log prior odds.

The shift is added to the bias before the last sigmoid, so that the exported model needs no further
step, and training, resuming and early stopping know nothing of it.

Source: A. Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, eq. 9.
"""

import math
from collections.abc import Sequence

import numpy as np

from components.trainer.sampling import side_sizes
from components.trainer.settings import TrainerSettings

Weights = Sequence[np.ndarray]


def shift(labels: np.ndarray, settings: TrainerSettings) -> float:
    """Returns what is added to the log odds of every score; 0 without `post_hoc`.

    It is minus `tau` times the log prior odds of the training images: the scores then estimate log
    odds without this share of the prior, with `tau` 1 those of a balanced population.

    Args:
      labels: int64 (n,) of 0 and 1, those of the train split.
      settings: the trainer's settings.
    """
    if settings.post_hoc is None:
        return 0.0
    negatives, positives = side_sizes(labels, settings.sampling_strategy)
    return -settings.tau * math.log(positives / negatives)


def shifted(weights: Weights, shift: float) -> list[np.ndarray]:
    """Returns the weights of a network or a head with another bias before its last sigmoid.

    Args:
      weights: as Keras's `get_weights` returns them; the last is the bias of the last layer, (1,).
      shift: what is added to the bias.

    Raises:
      ValueError: the last array isn't the bias of one output.
    """
    *others, bias = weights
    if bias.shape != (1,):
        raise ValueError(
            "the last weights must be the bias of one output, of shape (1,). "
            f"Received: {bias.shape}"
        )
    return [*others, bias + np.float32(shift)]
