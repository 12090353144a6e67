"""FeatureExtractor's specification: its input, output and execution properties."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components import names
from components.feature_extractor import executor
from components.feature_extractor.backbone import Backbone


class FeatureExtractorSpec(component_spec.ComponentSpec):
    """Channels and execution properties of FeatureExtractor."""

    PARAMETERS = {
        executor.MODEL_NAME: component_spec.ExecutionParameter(type=str),
        executor.WEIGHTS: component_spec.ExecutionParameter(type=str),
        executor.WEIGHTS_VERSION: component_spec.ExecutionParameter(type=str),
        executor.POOLED: component_spec.ExecutionParameter(type=int),
        executor.IMAGE_SIZE: component_spec.ExecutionParameter(type=int),
        executor.INPUT_SCALE: component_spec.ExecutionParameter(type=str),
        executor.VIEWS: component_spec.ExecutionParameter(type=str),
        executor.STORE: component_spec.ExecutionParameter(type=str),
        executor.SPLITS: component_spec.ExecutionParameter(type=str),
        executor.KEEPS_VIEWS: component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {names.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        names.FEATURED_EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples)
    }


class FeatureExtractor(base_beam_component.BaseBeamComponent):
    """Computes the features of each image by a frozen backbone, only once.

    Features are stored by image and by what they depend on: the backbone, the values of its
    weights, its pooling, the image size, the range of the pixels and the view. Splits, arms, epochs
    and later runs share the features of an image; other weights under the same file name have other
    features.

    Outputs:
      featured_examples: the requested splits, with the same shards and order, with `features`
        (float32 if pooled, else float16), `features_shape` and `features_type` instead of `image`;
        and `features.json`, see `components.feature_records`. On request also `view_features`:
        those of each view, of which `features` is the mean.
    """

    SPEC_CLASS = FeatureExtractorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        *,
        backbone: Backbone,
        store: str = "",
        splits: Sequence[str] = (),
        weights_version: str = "",
        keeps_views: bool = False,
    ):
        """Specifies the component.

        Args:
          examples: images with the features of `components.names`.
          backbone: the frozen backbone.
          store: local or mounted folder in which features are stored for later runs; if empty,
            they are computed again whenever this component runs.
          splits: the splits to write; all if empty.
          weights_version: a digest of the weights' file. The component doesn't read it: it
            invalidates TFX's cache when the file changes.
          keeps_views: write the features of each view, too.
        """
        super().__init__(
            spec=FeatureExtractorSpec(
                examples=examples,
                model_name=backbone.model,
                weights=backbone.weights,
                weights_version=weights_version,
                pooled=int(backbone.pooled),
                image_size=backbone.image_size,
                input_scale=backbone.input_scale,
                views=json.dumps(backbone.views),
                store=store,
                splits=json.dumps(list(splits)),
                keeps_views=int(keeps_views),
                featured_examples=Channel(type=standard_artifacts.Examples),
            )
        )
