"""The epochs of a training, and what follows from them: pure functions of their figures.

Whether to stop, which epoch was best and what the learning rate is are functions of the
figures alone, so a training that resumes from them decides as if it had never stopped.
"""

from collections.abc import Sequence
from typing import Any

Epoch = dict[str, Any]
"""One epoch's figures: `epoch` (from 1), `phase`, `seconds`, `learning_rate`, the loss and
the metrics, and those on val under `val_` names."""

WATCHED = "val_pr_auc"
"""What the best epoch has most of: average precision on val. Train has no such figure."""

_COUNTS = frozenset({"tp", "fp", "tn", "fn"})
# Keras's ReduceLROnPlateau has the same defaults.
_LR_FACTOR = 0.1
_LR_MIN_DELTA = 1e-4


def epoch_record(
    logs: dict[str, float], *, epoch: int, phase: str, learning_rate: float, seconds: float
) -> Epoch:
    """An epoch's figures as JSON values, counts as integers."""
    figures = {
        name: round(value) if name.removeprefix("val_") in _COUNTS else float(value)
        for name, value in logs.items()
    }
    return {
        "epoch": epoch,
        "phase": phase,
        **figures,
        "learning_rate": learning_rate,
        "seconds": round(seconds, 3),
    }


def best_index(epochs: Sequence[Epoch]) -> int:
    """Index of the epoch with the highest PR-AUC on val, the first where several are equal."""
    return max(range(len(epochs)), key=lambda index: epochs[index][WATCHED])


def exported_index(epochs: Sequence[Epoch], *, patience: int | None) -> int:
    """Index of the epoch whose weights are kept: the best with early stopping, else the last."""
    return len(epochs) - 1 if patience is None else best_index(epochs)


def is_finished(epochs: Sequence[Epoch], *, limit: int, patience: int | None) -> bool:
    """Whether training ends after these epochs.

    Args:
      epochs: those of one phase so far.
      limit: how many it has at most.
      patience: epochs without a better PR-AUC on val after which it ends early.
    """
    if len(epochs) >= limit:
        return True
    if patience is None or not epochs:
        return False
    return len(epochs) - 1 - best_index(epochs) >= patience


def learning_rate(epochs: Sequence[Epoch], *, initial: float, patience: int | None) -> float:
    """The learning rate of the epoch that follows these.

    Args:
      epochs: those of one phase so far.
      initial: of the first epoch.
      patience: epochs without a lower loss on val (by 1e-4) after which it is divided by
        ten; None keeps it.
    """
    if patience is None:
        return initial
    rate, best, waited = initial, float("inf"), 0
    for epoch in epochs:
        if epoch["val_loss"] < best - _LR_MIN_DELTA:
            best, waited = epoch["val_loss"], 0
            continue
        waited += 1
        if waited >= patience:
            rate, waited = rate * _LR_FACTOR, 0
    return rate
