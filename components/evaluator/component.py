"""The Evaluator: judges the calibrated model on images that nothing was chosen by."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.artifacts import Predictions, Sampling
from components.evaluator import executor
from components.evaluator.gates import ANOMALIES, Gate, GateError, parse_all


class EvaluatorSpec(ComponentSpec):
    """What goes into the Evaluator and what comes out."""

    PARAMETERS = {
        executor.SPLIT: ExecutionParameter(type=str),
        executor.SLICES: ExecutionParameter(type=str),
        executor.GATES: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.SAMPLING: ChannelParameter(type=Sampling),
        names.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies, optional=True),
    }
    OUTPUTS = {
        names.EVALUATION: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        names.PREDICTIONS: ChannelParameter(type=Predictions),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(BaseBeamComponent):
    """Runs each image of a split through the model once, and judges what it says.

    Outputs:
      evaluation: TFMA's files and `summary.json`.
      predictions: a row an image, as parquet.
      blessing: TFX's mark and `verdict.json`, which gives the reason.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        model: BaseChannel,
        sampling: BaseChannel,
        *,
        slices: Sequence[Sequence[str]],
        gates: Sequence[str],
        anomalies: BaseChannel | None = None,
        split: str = names.TEST,
    ):
        """Describes the evaluation.

        Args:
          examples: Examples that hold the split.
          model: the Calibrator's model.
          sampling: the ImbalanceSampler's account, for the real world's prevalence.
          slices: lists of slice columns; a list of several crosses them.
          gates: what is asked, such as `recall >= 0.90`, see `components.evaluator.gates`.
          anomalies: ExampleValidator's, for gates on them. Without such a gate leave it out, so
            that another finding does not evaluate the model anew.
          split: where to evaluate.

        Raises:
          GateError: a gate cannot be understood, or asks for anomalies that are not given.
        """
        _check_anomalies(parse_all(gates), anomalies)
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                model=model,
                sampling=sampling,
                anomalies=anomalies,
                split=split,
                slices=json.dumps([list(columns) for columns in slices]),
                gates=json.dumps(list(gates)),
                evaluation=Channel(type=standard_artifacts.ModelEvaluation),
                predictions=Channel(type=Predictions),
                blessing=Channel(type=standard_artifacts.ModelBlessing),
            )
        )


def _check_anomalies(gates: Sequence[Gate], anomalies: BaseChannel | None) -> None:
    asked = [gate.text for gate in gates if gate.metric == ANOMALIES]
    if asked and anomalies is None:
        raise GateError(
            f"gate {asked[0]!r} needs ExampleValidator's anomalies, which are not given"
        )
