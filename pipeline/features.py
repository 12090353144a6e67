"""Which features a training can share, and the component that computes them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfx.types import BaseChannel

from components.feature_extractor.component import FeatureExtractor
from components.trainer.settings import TrainerSettings
from pipeline.settings import Trainer


@dataclass(frozen=True)
class FrozenBackbone:
    """What trainings share features by.

    Attributes:
      weights: `imagenet`, `none`, or the path of a Keras 3 weights file.
      pooled: whether the features are averaged over the image.
      image_size: side of the images in pixels.
      input_scale: range of the pixels.
    """

    weights: str
    pooled: bool
    image_size: int
    input_scale: str

    @property
    def node_id(self) -> str:
        """A name for its FeatureExtractor that tells it from the others of a study."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return f"FeatureExtractor.{'pooled' if self.pooled else 'map'}-{self.image_size}-{digest}"


def frozen_backbone(settings: Trainer) -> FrozenBackbone | None:
    """The backbone that a training never changes; None where there is no such part.

    It is one where no image is ever seen in two forms, and no weight of it is trained.
    """
    if settings.model != "xception" or settings.fine_tune or settings.augmentation:
        return None
    low, high = TrainerSettings.from_mapping(settings.model_dump()).pixel_range
    return FrozenBackbone(
        weights=settings.weights,
        pooled=settings.head == "pooled",
        image_size=settings.image_size,
        input_scale=f"{low:g}..{high:g}",
    )


def feature_extractor(
    backbone: FrozenBackbone, examples: BaseChannel, *, store: str, splits: Sequence[str] = ()
) -> FeatureExtractor:
    """The component that computes the features of one backbone.

    Args:
      backbone: which.
      examples: the images.
      store: folder in which they are kept for later runs; empty: nowhere.
      splits: which to compute them of; none: all.
    """
    return FeatureExtractor(
        examples,
        weights=backbone.weights,
        pooled=backbone.pooled,
        image_size=backbone.image_size,
        input_scale=backbone.input_scale,
        store=store,
        splits=splits,
        weights_version=_file_digest(backbone.weights),
    )


def _file_digest(path: str) -> str:
    """SHA-256 of a file in hex; empty where there is none to read here."""
    if not Path(path).is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
