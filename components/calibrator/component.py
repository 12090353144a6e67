"""The Calibrator's spec."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import BaseChannel, Channel, ComponentSpec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components import names
from components.artifacts import Predictions, Sampling
from components.calibrator.executor import SETTINGS, SPLIT, Executor


class CalibratorSpec(ComponentSpec):
    """Inputs, outputs and parameters of the Calibrator."""

    PARAMETERS = {
        SETTINGS: ExecutionParameter(type=str),
        SPLIT: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        names.SAMPLING: ChannelParameter(type=Sampling),
        names.FEATURED_EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    # A spec's keys are unique over inputs and outputs, so the output can't be `model` as well.
    OUTPUTS = {
        names.CALIBRATED_MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.VAL_PREDICTIONS: ChannelParameter(type=Predictions),
    }


class Calibrator(BaseComponent):
    """Calibrates a model, chooses its operating point and exports it with both.

    Outputs:
      calibrated_model: the model.
      val_predictions: its probability for each image of the split.
    """

    SPEC_CLASS = CalibratorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: BaseChannel,
        examples: BaseChannel,
        sampling: BaseChannel,
        *,
        settings: Mapping[str, Any],
        split: str = names.VAL,
        featured_examples: BaseChannel | None = None,
    ):
        """Creates the component.

        Args:
          model: the Trainer's Model.
          examples: Examples with the split.
          sampling: the ImbalanceSampler's report, for the real world's prevalence.
          settings: section `calibrator` of the settings, as JSON's types: `calibration`, one of
            `calibration.CALIBRATIONS`, `rule`, the settings of the rules, see
            `operating_point.choose`, None where they are not used, and `review`.
          split: the split on which the operating point is chosen; must be neither the split
            used for training nor the one used for evaluation.
          featured_examples: the FeatureExtractor's examples that the model was trained on, from
            which its scores are computed without its backbone; None without a frozen backbone.
        """
        spec = CalibratorSpec(
            settings=json.dumps(settings, sort_keys=True),
            split=split,
            model=model,
            examples=examples,
            sampling=sampling,
            featured_examples=featured_examples,
            calibrated_model=Channel(type=standard_artifacts.Model),
            val_predictions=Channel(type=Predictions),
        )
        super().__init__(spec=spec)
