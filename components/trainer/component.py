"""TFX's Trainer with this project's `run_fn`, and parameters of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfx.components.trainer import component as tfx_trainer
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel, Channel, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter
from tfx.utils import json_utils

from components import names
from components.images import rules
from components.trainer import executor, weights

_RUN_FN = "components.trainer.run.run_fn"


class TrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's spec, with what may be given anew with each run."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        executor.EPOCHS: ExecutionParameter(type=int, optional=True),
        executor.MODEL_NAME: ExecutionParameter(type=str, optional=True),
        executor.PIPELINE_ROOT: ExecutionParameter(type=str, optional=True),
    }


class Trainer(tfx_trainer.Trainer):
    """TFX's Trainer, of which some settings can be parameters of a run."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, spec: TrainerSpec):
        """Wires the component; `training_spec` makes the spec."""
        # Not TFX's own: that makes a spec without the parameters.
        BaseComponent.__init__(self, spec=spec)


def trainer(
    examples: BaseChannel,
    *,
    settings: Mapping[str, Any],
    max_side: int,
    max_pixels: int,
    checkpoint_root: str,
    epochs: RuntimeParameter | None = None,
    model: RuntimeParameter | None = None,
    pipeline_root: RuntimeParameter | None = None,
) -> Trainer:
    """The component that trains on the split `train` and watches the split `val`.

    Args:
      examples: Examples with both splits.
      settings: the trainer's settings as plain JSON values, see `TrainerSettings`.
      max_side: of the images in `examples`, as ImageExampleGen was given it; the model
        records it and reads images by it.
      max_pixels: likewise.
      checkpoint_root: folder in which an interrupted training is kept until it has gone
        on to its end; it must outlive the process, so no temporary one.
      epochs: parameter of a run that stands in for the setting.
      model: parameter of a run that stands in for the setting.
      pipeline_root: parameter of a run: interrupted trainings are kept in its folder
        `checkpoints`, and not in `checkpoint_root`.

    Returns:
      a component with the outputs `model` and `model_run`.
    """
    return Trainer(
        training_spec(
            examples,
            run_fn=_RUN_FN,
            train_splits=[names.TRAIN],
            eval_splits=[names.VAL],
            config={
                executor.SETTINGS: dict(settings),
                executor.READING: {
                    "max_side": max_side,
                    "max_pixels": max_pixels,
                    "version": rules.VERSION,
                },
                executor.CHECKPOINT_ROOT: checkpoint_root,
            },
            parameters={
                executor.EPOCHS: epochs,
                executor.MODEL_NAME: model,
                executor.PIPELINE_ROOT: pipeline_root,
            },
        )
    )


def training_spec(
    examples: BaseChannel,
    *,
    run_fn: str,
    train_splits: Sequence[str],
    eval_splits: Sequence[str],
    config: Mapping[str, Any],
    parameters: Mapping[str, RuntimeParameter | None],
) -> TrainerSpec:
    """What a training is made of.

    Args:
      examples: Examples with the splits.
      run_fn: the import path of the function that trains.
      train_splits: what it learns from.
      eval_splits: what it is watched and judged on.
      config: `custom_config` of the function, plain JSON values, with the trainer's settings.
      parameters: of a run, by the keys of `executor`; None where a run gives none.
    """
    keys = standard_component_specs
    named = config[executor.SETTINGS]
    return TrainerSpec(
        **{
            keys.EXAMPLES_KEY: examples,
            keys.RUN_FN_KEY: run_fn,
            keys.TRAIN_ARGS_KEY: trainer_pb2.TrainArgs(splits=train_splits),
            keys.EVAL_ARGS_KEY: trainer_pb2.EvalArgs(splits=eval_splits),
            keys.CUSTOM_CONFIG_KEY: json_utils.dumps(
                # Not read by the function: it makes a changed file miss TFX's cache.
                {**config, executor.WEIGHTS_VERSION: weights.version(named["weights"])}
            ),
            **parameters,
            names.MODEL: Channel(type=standard_artifacts.Model),
            names.MODEL_RUN: Channel(type=standard_artifacts.ModelRun),
        }
    )
