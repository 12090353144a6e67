"""What training changed about the share of positives: the contract of Trainer and Calibrator.

The Trainer writes it to its SavedModel's assets, so that the Calibrator can convert the scores to
the population's prevalence by a closed form. Imports neither TensorFlow nor TFX.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

ASSET_NAME = "training_balance.json"
_ASSETS = "assets"
VERSION = 1
"""Version of the contract."""


@dataclass(frozen=True, kw_only=True)
class TrainingBalance:
    """The balance of an epoch as the loss counts it, and the loss.

    Attributes:
      positive_images: positive images per epoch, with repetitions.
      negative_images: negative images per epoch, with repetitions.
      positive_weight: weight of a positive image in the loss.
      negative_weight: weight of a negative image in the loss.
      focal_gamma: the focal loss's gamma; 0 for cross-entropy, which is the focal loss with
        gamma 0.
      version: version of the contract.
    """

    positive_images: int
    negative_images: int
    positive_weight: float = 1.0
    negative_weight: float = 1.0
    focal_gamma: float = 0.0
    version: int = VERSION

    def __post_init__(self) -> None:
        """Checks that the odds are defined.

        Raises:
          ValueError: a count or weight is not above 0, or gamma is negative.
        """
        sides = asdict(self)
        for name in ("positive_images", "negative_images", "positive_weight", "negative_weight"):
            if not 0 < sides[name] < math.inf:
                raise ValueError(f"{name} must be above 0 and finite. Received: {sides[name]}")
        if not 0 <= self.focal_gamma < math.inf:
            raise ValueError(f"focal_gamma must be at least 0. Received: {self.focal_gamma}")

    @property
    def odds(self) -> float:
        """Weight of all positives divided by that of all negatives, per epoch."""
        positives = self.positive_images * self.positive_weight
        return positives / (self.negative_images * self.negative_weight)

    def to_json(self) -> str:
        """Returns the balance as a JSON object, which `from_mapping` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrainingBalance":
        """Returns the balance in a JSON object.

        Raises:
          ValueError: the version, the keys or a value are not those of this version of the
            contract.
        """
        known = {field.name for field in fields(cls)}
        if values.get("version") != VERSION or known != values.keys():
            raise ValueError(
                f"the training balance must be of version {VERSION} with the keys {sorted(known)}; "
                "use the version of outnumbered that trained the model. "
                f"Received: version {values.get('version')!r}, keys {sorted(values)}"
            )
        return cls(**values)


def read(serving_dir: str) -> TrainingBalance | None:
    """Reads the balance in the assets of a SavedModel.

    Args:
      serving_dir: folder of the SavedModel.

    Returns:
      None if the model does not record it, such as one exported by an earlier version.

    Raises:
      ValueError: see `TrainingBalance.from_mapping`.
    """
    path = Path(serving_dir) / _ASSETS / ASSET_NAME
    if not path.is_file():
        return None
    return TrainingBalance.from_mapping(json.loads(path.read_text(encoding="utf-8")))
