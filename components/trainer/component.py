"""TFX's Trainer with this project's `run_fn` and additional parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfx.components.trainer import component as tfx_trainer
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel, Channel, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import json_utils

from components import names
from components.artifacts import Champion, Sampling
from components.images import rules
from components.trainer import executor, weights
from components.trainer.units import UnitRule

_RUN_FN = "components.trainer.run.run_fn"


class TrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's spec, with the champion and the settings that can be parameters of a run."""

    PARAMETERS = {
        **standard_component_specs.TrainerSpec.PARAMETERS,
        executor.EPOCHS: ExecutionParameter(type=int, optional=True),
        executor.MODEL_NAME: ExecutionParameter(type=str, optional=True),
        executor.PIPELINE_ROOT: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        names.CHAMPION: ChannelParameter(type=Champion, optional=True),
        names.SAMPLING: ChannelParameter(type=Sampling, optional=True),
    }


class Trainer(tfx_trainer.Trainer):
    """TFX's Trainer, with some settings as optional parameters of a run."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(self, spec: TrainerSpec):
        """Specifies the component; `training_spec` makes the spec."""
        # TFX's own constructor would make a spec without the parameters.
        BaseComponent.__init__(self, spec=spec)


def trainer(
    examples: BaseChannel,
    *,
    settings: Mapping[str, Any],
    max_side: int,
    max_pixels: int,
    checkpoint_root: str,
    parameters: Mapping[str, RuntimeParameter | None] | None = None,
    champion: BaseChannel | None = None,
    units: UnitRule | None = None,
) -> Trainer:
    """Returns the component that trains on the split `train` and monitors the split `val`.

    Args:
      examples: Examples with both splits.
      settings: the trainer's settings as plain JSON values, see `TrainerSettings`.
      max_side: ImageExampleGen's `max_side` for the images in `examples`; the model records
        it and reads images with it.
      max_pixels: likewise.
      checkpoint_root: folder in which an interrupted training is saved until it is finished;
        must not be temporary, since it must still exist in the process that resumes it.
      parameters: run parameters by the keys of `executor`: EPOCHS and MODEL_NAME override the
        settings; interrupted trainings are saved in the folder `checkpoints` of PIPELINE_ROOT
        instead of in `checkpoint_root`.
      champion: ChampionFinder's output, for `trainer.warm_start`. Omit it without one, so that a
        release does not make the model be trained again.
      units: which images the sampler never parts, for the choice of the head's penalty; None: each
        image is by itself.

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
                **(units.as_config() if units else {}),
            },
            parameters=parameters or {},
            champion=champion,
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
    champion: BaseChannel | None = None,
    sampling: BaseChannel | None = None,
) -> TrainerSpec:
    """Returns the spec of a training.

    Args:
      examples: Examples with the splits.
      run_fn: the import path of the function that trains.
      train_splits: the splits to train on.
      eval_splits: the splits to monitor and evaluate on.
      config: `custom_config` of the function, plain JSON values, with the trainer's settings.
      parameters: run parameters by the keys of `executor`; None if a run has none.
      champion: ChampionFinder's output; None without a warm start.
      sampling: ImbalanceSampler's output; None if the splits are drawn once.
    """
    keys = standard_component_specs
    settings = config[executor.SETTINGS]
    version = weights.version(settings["weights"], settings["model"])
    return TrainerSpec(
        **{
            keys.EXAMPLES_KEY: examples,
            keys.RUN_FN_KEY: run_fn,
            keys.TRAIN_ARGS_KEY: trainer_pb2.TrainArgs(splits=train_splits),
            keys.EVAL_ARGS_KEY: trainer_pb2.EvalArgs(splits=eval_splits),
            keys.CUSTOM_CONFIG_KEY: json_utils.dumps(
                # Not read by the function: it invalidates TFX's cache when the file changes.
                {**config, executor.WEIGHTS_VERSION: version}
            ),
            **parameters,
            names.CHAMPION: champion,
            names.SAMPLING: sampling,
            names.MODEL: Channel(type=standard_artifacts.Model),
            names.MODEL_RUN: Channel(type=standard_artifacts.ModelRun),
        }
    )
