"""An arm of a study as a component: TFX's Trainer with the `run_fn` of many seeds."""

from collections.abc import Mapping
from typing import Any

from tfx.components.trainer.component import Trainer
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel

from components.trainer.arm import Arm

_RUN_FN = "components.trainer.arm.run_fn"


def arm_trainer(
    examples: BaseChannel, *, settings: Mapping[str, Any], arm: Arm, checkpoint_root: str
) -> Trainer:
    """The component that trains every replicate of an arm.

    Args:
      examples: Examples with the arm's splits, of images or of features.
      settings: the trainer's settings as plain JSON values, see `TrainerSettings`.
      arm: its name, splits and number of replicates.
      checkpoint_root: folder in which an interrupted arm is kept until it has gone on to its
        end; it must outlive the process, so no temporary one.

    Returns:
      a component named for the arm, with the outputs `model` and `model_run`.
    """
    component = Trainer(
        examples=examples,
        run_fn=_RUN_FN,
        train_args=trainer_pb2.TrainArgs(splits=[arm.train_split]),  # type: ignore[attr-defined]
        eval_args=trainer_pb2.EvalArgs(splits=arm.judged),  # type: ignore[attr-defined]
        custom_config={
            "trainer": dict(settings),
            "arm": arm.as_json(),
            "checkpoint_root": checkpoint_root,
        },
    )
    return component.with_id(f"Trainer.{arm.name}")
