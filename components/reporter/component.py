"""The Reporter's specification: its inputs, output and execution properties."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import artifacts, names
from components.reporter import executor


class ReporterSpec(ComponentSpec):
    """Channels and execution properties of the Reporter."""

    PARAMETERS = {
        executor.TITLE: ExecutionParameter(type=str),
        executor.SETTINGS: ExecutionParameter(type=str),
    }
    INPUTS = {
        names.EVALUATION: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        names.PREDICTIONS: ChannelParameter(type=artifacts.Predictions),
        names.VAL_PREDICTIONS: ChannelParameter(type=artifacts.Predictions),
        names.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing),
        names.MODEL: ChannelParameter(type=standard_artifacts.Model),
        names.MODEL_RUN: ChannelParameter(type=standard_artifacts.ModelRun),
        names.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        names.FEATURED_EXAMPLES: ChannelParameter(type=standard_artifacts.Examples, optional=True),
        names.SAMPLING: ChannelParameter(type=artifacts.Sampling),
        names.QUARANTINE: ChannelParameter(type=artifacts.Quarantine),
        names.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        names.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {
        names.REPORT: ChannelParameter(type=artifacts.Report),
    }


class Reporter(BaseComponent):
    """Writes an HTML page for people and a JSON file for programs.

    Outputs:
      report: `report.html`, without external resources, and `metrics.json`.
    """

    SPEC_CLASS = ReporterSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(  # noqa: PLR0913 - one argument per input
        self,
        *,
        evaluation: BaseChannel,
        predictions: BaseChannel,
        val_predictions: BaseChannel,
        blessing: BaseChannel,
        model: BaseChannel,
        model_run: BaseChannel,
        examples: BaseChannel,
        sampling: BaseChannel,
        quarantine: BaseChannel,
        anomalies: BaseChannel,
        pushed_model: BaseChannel,
        featured_examples: BaseChannel | None = None,
        title: str,
        settings: Mapping[str, Any],
    ):
        """Specifies the component.

        Args:
          evaluation: the Evaluator's metrics.
          predictions: the Evaluator's predictions.
          val_predictions: the Calibrator's predictions.
          blessing: the Evaluator's verdict.
          model: the Calibrator's model.
          model_run: the Trainer's history.
          examples: the ImbalanceSampler's examples, for thumbnails.
          sampling: the ImbalanceSampler's report.
          quarantine: ImageExampleGen's quarantine.
          anomalies: ExampleValidator's anomalies.
          pushed_model: the Pusher's artifact, whether or not the model was pushed.
          featured_examples: the FeatureExtractor's examples, to find doubtful labels in train;
            None if no backbone is frozen.
          title: title of the page.
          settings: settings of the run, nested, as plain JSON values.
        """
        super().__init__(
            spec=ReporterSpec(
                evaluation=evaluation,
                predictions=predictions,
                val_predictions=val_predictions,
                blessing=blessing,
                model=model,
                model_run=model_run,
                examples=examples,
                sampling=sampling,
                quarantine=quarantine,
                anomalies=anomalies,
                pushed_model=pushed_model,
                featured_examples=featured_examples,
                title=title,
                settings=json.dumps(settings),
                report=Channel(type=artifacts.Report),
            )
        )
