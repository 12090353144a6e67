"""Predictions of the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The model's prediction for one image.

    Attributes:
      probability: probability of the positive class, in [0, 1].
      is_positive: whether the probability reaches the operating point.
    """

    probability: float
    is_positive: bool


@dataclass(frozen=True)
class PredictionResult:
    """The predictions for one request.

    Attributes:
      version: version of the model that made them, and by whose rules the images were read.
      predictions: one per image, in order.
    """

    version: int
    predictions: list[Prediction]
