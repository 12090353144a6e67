"""Predictions of the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The model's prediction for one image.

    Attributes:
      probability: probability of the positive class, in [0, 1].
      is_positive: whether the probability reaches the operating point.
      score: the trained model's own output, in [0, 1]; None if the model does not return it, as
        models of earlier versions.
      needs_review: whether a person should decide; None if the model does not return it.
    """

    probability: float
    is_positive: bool
    score: float | None = None
    needs_review: bool | None = None

    def outputs(self) -> dict[str, float | bool]:
        """Returns the outputs that the model has, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class PredictionResult:
    """The predictions for one request.

    Attributes:
      version: version of the model that made them, and by whose rules the images were read.
      predictions: one per image, in order.
    """

    version: int
    predictions: list[Prediction]
