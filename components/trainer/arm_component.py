"""An arm of a study as a component: the Trainer with the `run_fn` that trains many seeds."""

from collections.abc import Mapping
from typing import Any

from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel

from components import names
from components.trainer import executor
from components.trainer.arm import Arm
from components.trainer.component import Trainer, training_spec
from components.trainer.units import UnitRule

_RUN_FN = "components.trainer.arm.run_fn"


def arm_trainer(
    examples: BaseChannel,
    *,
    settings: Mapping[str, Any],
    arm: Arm,
    checkpoint_root: str,
    pipeline_root: RuntimeParameter | None = None,
    sampling: BaseChannel | None = None,
    units: UnitRule | None = None,
) -> Trainer:
    """Returns the component that trains every replicate of an arm.

    Args:
      examples: Examples with the arm's splits, of images or features; with several draws, with
        the split of all images.
      settings: the trainer's settings as plain JSON values, see `TrainerSettings`.
      arm: its name, splits and number of replicates.
      checkpoint_root: folder in which an interrupted arm is saved until it is finished; must
        not be temporary, since it must still exist in the process that resumes it.
      pipeline_root: run parameter; interrupted arms are saved in its folder `checkpoints`
        instead of `checkpoint_root`.
      sampling: ImbalanceSampler's output with the draws; only with several.
      units: which images the sampler never parts, for the choice of a head's penalty; None: each
        image is by itself.

    Returns:
      a component named after the arm, with the outputs `model` and `model_run`.
    """
    spec = training_spec(
        examples,
        run_fn=_RUN_FN,
        train_splits=[names.DRAWN] if arm.draws > 1 else [arm.train_split],
        eval_splits=[names.DRAWN] if arm.draws > 1 else arm.evaluated_splits,
        config={
            executor.SETTINGS: dict(settings),
            "arm": arm.as_json(),
            executor.CHECKPOINT_ROOT: checkpoint_root,
            **(units.as_config() if units else {}),
        },
        parameters={executor.PIPELINE_ROOT: pipeline_root},
        sampling=sampling if arm.draws > 1 else None,
    )
    return Trainer(spec).with_id(f"Trainer.{arm.name}")
