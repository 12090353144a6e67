"""Predictions of the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The model's prediction for one image.

    Attributes:
      probability: probability of the positive class, in [0, 1].
      is_positive: whether the probability reaches the operating point.
      needs_review: whether a person should decide; False if the model has no review band.
    """

    probability: float
    is_positive: bool
    needs_review: bool = False


@dataclass(frozen=True)
class PredictionResult:
    """The predictions for one request.

    Attributes:
      version: version of the model that made them, and by whose rules the images were read.
      predictions: one per image, in order.
    """

    version: int
    predictions: list[Prediction]
