"""Which features a training can share, and the component that computes them."""

from collections.abc import Sequence

from tfx.types import BaseChannel

from components.feature_extractor.backbone import Backbone
from components.feature_extractor.component import FeatureExtractor
from components.trainer import weights
from components.trainer.settings import TrainerSettings


def frozen_backbone(settings: TrainerSettings) -> Backbone | None:
    """The backbone that a training never changes; None where there is no such part.

    It is one where no image is ever seen in two forms, and no weight of it is trained.
    """
    if settings.model != "xception" or settings.fine_tune or settings.augmentation:
        return None
    low, high = settings.pixel_range
    return Backbone(
        weights=settings.weights,
        pooled=settings.head == "pooled",
        image_size=settings.image_size,
        input_scale=f"{low:g}..{high:g}",
    )


def feature_extractor(
    backbone: Backbone, examples: BaseChannel, *, store: str, splits: Sequence[str] = ()
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
        weights_version=weights.version(backbone.weights),
    )
