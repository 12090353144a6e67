"""Features that trainings can share, and the component that computes them."""

from collections.abc import Sequence

from tfx.types import BaseChannel

from components.feature_extractor.backbone import Backbone
from components.feature_extractor.component import FeatureExtractor
from components.trainer import weights
from components.trainer.backbones import CNN
from components.trainer.settings import TrainerSettings


def frozen_backbone(settings: TrainerSettings) -> Backbone | None:
    """The frozen backbone of a training; None if it has none.

    A backbone is frozen if none of its weights is trained and no image is augmented, so that
    its features can be computed once per image.
    """
    if settings.model == CNN or settings.fine_tune or settings.augmentation:
        return None
    low, high = settings.pixel_range
    return Backbone(
        model=settings.model,
        weights=settings.weights,
        pooled=settings.head == "pooled",
        image_size=settings.image_size,
        input_scale=f"{low:g}..{high:g}",
        views=settings.view_names,
    )


def feature_extractor(
    backbone: Backbone,
    examples: BaseChannel,
    *,
    store: str,
    splits: Sequence[str] = (),
    keeps_views: bool = False,
) -> FeatureExtractor:
    """The component that computes the features of a backbone.

    Args:
      backbone: the backbone.
      examples: the images.
      store: folder in which features are kept for later runs; empty: they are not kept.
      splits: splits to compute features for; empty: all.
      keeps_views: whether a training needs the features of each view, too.
    """
    return FeatureExtractor(
        examples,
        backbone=backbone,
        store=store,
        splits=splits,
        weights_version=weights.version(backbone.weights, backbone.model),
        keeps_views=keeps_views,
    )
