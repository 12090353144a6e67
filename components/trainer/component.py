"""TFX's Trainer with this project's `run_fn`."""

from collections.abc import Mapping
from typing import Any

from tfx.components.trainer.component import Trainer
from tfx.proto import trainer_pb2
from tfx.types import BaseChannel

from components import names

_RUN_FN = "components.trainer.run.run_fn"


def trainer(examples: BaseChannel, *, settings: Mapping[str, Any], checkpoint_root: str) -> Trainer:
    """The component that trains on the split `train` and watches the split `val`.

    Args:
      examples: Examples with both splits.
      settings: the trainer's settings as plain JSON values, see `TrainerSettings`.
      checkpoint_root: folder in which an interrupted training is kept until it has gone
        on to its end; it must outlive the process, so no temporary one.

    Returns:
      a component with the outputs `model` and `model_run`.
    """
    return Trainer(
        examples=examples,
        run_fn=_RUN_FN,
        train_args=trainer_pb2.TrainArgs(splits=[names.TRAIN]),  # type: ignore[attr-defined]
        eval_args=trainer_pb2.EvalArgs(splits=[names.VAL]),  # type: ignore[attr-defined]
        custom_config={"trainer": dict(settings), "checkpoint_root": checkpoint_root},
    )
