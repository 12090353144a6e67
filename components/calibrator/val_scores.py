"""Checks the scores and labels that a calibration or an operating point is based on."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns probabilities and labels as arrays.

    Args:
      probabilities: (n,), 0 to 1.
      labels: (n,), 1 for positive and 0 for negative.

    Raises:
      ValueError: the lengths differ, a probability is not a number from 0 to 1, or one side has no
        image.
    """
    probabilities = np.asarray(probabilities, np.float32)
    labels = np.asarray(labels, np.int64)
    if probabilities.ndim != 1 or probabilities.shape != labels.shape:
        raise ValueError(
            "probabilities and labels must be one-dimensional and have the same length. "
            f"Received: shapes {probabilities.shape} and {labels.shape}"
        )
    # In this form, so that NaN, which fails every comparison, is refused too.
    valid = (probabilities >= 0) & (probabilities <= 1)
    if not np.all(valid):
        raise ValueError(
            "the model's probabilities must be numbers from 0 to 1. "
            f"Received: {probabilities[~valid][0]}"
        )
    positives = int(labels.sum())
    if positives in (0, len(labels)):
        raise ValueError(
            "images of both sides are required. "
            f"Received: {positives} positive and {len(labels) - positives} negative images"
        )
    return probabilities, labels
