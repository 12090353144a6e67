"""The model's predictions, as the gateway passes them on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """The model's prediction for one image.

    Attributes:
      probability: in [0, 1], of the positive class.
      is_positive: whether it reaches the operating point.
    """

    probability: float
    is_positive: bool


@dataclass(frozen=True)
class Answer:
    """The predictions for one request.

    Attributes:
      version: of the model that made them; its reading rules are those that the images were
        read by.
      verdicts: one for each image, in order.
    """

    version: int
    verdicts: list[Verdict]
