"""The Calibrator's spec."""

from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import BaseChannel, Channel, ComponentSpec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components import names
from components.artifacts import Predictions, Sampling
from components.calibrator.executor import (
    PRECISION_FLOOR,
    RULE,
    SPLIT,
    THRESHOLD,
    Executor,
)


class CalibratorSpec(ComponentSpec):
    """Inputs, outputs and parameters of the Calibrator."""

    PARAMETERS = {
        RULE: ExecutionParameter(type=str),
        PRECISION_FLOOR: ExecutionParameter(type=float),
        THRESHOLD: ExecutionParameter(type=float),
        SPLIT: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        names.SAMPLING: ChannelParameter(type=Sampling),
    }
    # A spec's keys are unique over inputs and outputs, so the output can't be `model` as well.
    OUTPUTS = {
        names.CALIBRATED_MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.VAL_PREDICTIONS: ChannelParameter(type=Predictions),
    }


class Calibrator(BaseComponent):
    """Chooses the operating point on val and exports a model that applies it.

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
        rule: str,
        precision_floor: float = 0.0,
        threshold: float = 0.5,
        split: str = names.VAL,
    ):
        """Creates the component.

        Args:
          model: the Trainer's Model.
          examples: Examples with the split.
          sampling: the ImbalanceSampler's report, for the real world's prevalence.
          rule: `best_f1`, `recall_at_precision` or `fixed`.
          precision_floor: for `recall_at_precision`, 0 to 1.
          threshold: for `fixed`, 0 to 1.
          split: the split on which the operating point is chosen; must be neither the split
            used for training nor the one used for evaluation.
        """
        spec = CalibratorSpec(
            rule=rule,
            precision_floor=float(precision_floor),
            threshold=float(threshold),
            split=split,
            model=model,
            examples=examples,
            sampling=sampling,
            calibrated_model=Channel(type=standard_artifacts.Model),
            val_predictions=Channel(type=Predictions),
        )
        super().__init__(spec=spec)
