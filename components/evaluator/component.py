"""The Evaluator: evaluates the calibrated model on images that influenced no choice."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import names
from components.artifacts import Champion, Predictions, Sampling
from components.evaluator import executor
from components.evaluator.gates import ANOMALIES, Gate, GateError, check_columns, parse_all


class EvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of the Evaluator."""

    PARAMETERS = {
        executor.SPLIT: ExecutionParameter(type=str),
        executor.SLICES: ExecutionParameter(type=str),
        executor.BANDS: ExecutionParameter(type=str),
        executor.GATES: ExecutionParameter(type=str),
        executor.SAMPLER: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.SAMPLING: ChannelParameter(type=Sampling),
        names.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies, optional=True),
        names.CHAMPION: ChannelParameter(type=Champion, optional=True),
        names.FEATURED_EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {
        names.EVALUATION: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        names.PREDICTIONS: ChannelParameter(type=Predictions),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(BaseBeamComponent):
    """Predicts each image of a split once with the model, and applies the gates to its metrics.

    Outputs:
      evaluation: TFMA's files and `summary.json`, and `champion.json` if a champion is given.
      predictions: one row per image, as parquet.
      blessing: TFX's marker file, and `verdict.json` with the reason.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - one argument per input
        self,
        examples: BaseChannel,
        model: BaseChannel,
        sampling: BaseChannel,
        *,
        slices: Sequence[Sequence[str]],
        gates: Sequence[str],
        bands: Sequence[str] = (),
        anomalies: BaseChannel | None = None,
        champion: BaseChannel | None = None,
        sampler: Mapping[str, Any] | None = None,
        featured_examples: BaseChannel | None = None,
        split: str = names.TEST,
    ):
        """Creates the component.

        Args:
          examples: Examples with the split.
          model: the Calibrator's model.
          sampling: the ImbalanceSampler's report, for the real world's prevalence.
          slices: lists of slice columns; a list of several columns crosses them.
          gates: the gates, such as `recall >= 0.90`, see `components.evaluator.gates`.
          bands: measures of the images, see `components.bands`, whose bands are further slices.
          anomalies: ExampleValidator's anomalies, for gates on them. Omit them without such a
            gate, so that new findings do not make the model be evaluated again.
          champion: ChampionFinder's output, with which the model is compared.
          sampler: the settings of the sampler, from which it is known whether the champion may
            have been trained on images of the split.
          featured_examples: the FeatureExtractor's examples, from which a model with the same
            backbone predicts without running it again; None without a frozen backbone.
          split: the split to evaluate on.

        Raises:
          GateError: a gate is invalid, is on slices that are not computed, or is on anomalies or
            a champion, which are not given.
        """
        parsed = parse_all(gates)
        check_columns(parsed, [[names.CLASS_NAME], *([band] for band in bands), *slices])
        _check_anomalies(parsed, anomalies)
        _check_champion(parsed, champion)
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                model=model,
                sampling=sampling,
                anomalies=anomalies,
                champion=champion,
                featured_examples=featured_examples,
                sampler=json.dumps(sampler) if sampler else "",
                split=split,
                slices=json.dumps([list(columns) for columns in slices]),
                bands=json.dumps(list(bands)),
                gates=json.dumps(list(gates)),
                evaluation=Channel(type=standard_artifacts.ModelEvaluation),
                predictions=Channel(type=Predictions),
                blessing=Channel(type=standard_artifacts.ModelBlessing),
            )
        )


def _check_anomalies(gates: Sequence[Gate], anomalies: BaseChannel | None) -> None:
    on_anomalies = [gate.text for gate in gates if gate.metric == ANOMALIES]
    if on_anomalies and anomalies is None:
        raise GateError(
            f"anomalies are required for gate {on_anomalies[0]!r}; give ExampleValidator's output. "
            "Received: None"
        )


def _check_champion(gates: Sequence[Gate], champion: BaseChannel | None) -> None:
    on_champion = [gate.text for gate in gates if gate.champion]
    if on_champion and champion is None:
        raise GateError(
            f"champion is required for gate {on_champion[0]!r}; give ChampionFinder's output. "
            "Received: None"
        )
