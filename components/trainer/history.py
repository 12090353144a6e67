"""The epochs of a training, and pure functions of their metrics.

Whether to stop, which epoch is best and what the learning rate is depend only on the metrics,
so a resumed training makes the same decisions as an uninterrupted one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Epoch = dict[str, Any]
"""One epoch's record: `epoch` (from 1), `phase`, `seconds`, `learning_rate`, the loss and the
metrics, and those on val with the prefix `val_`."""

MONITORED = "val_pr_auc"
"""The metric that is highest in the best epoch: average precision on val. Not computed on train."""

_COUNTS = frozenset({"tp", "fp", "tn", "fn"})
# The defaults of Keras's ReduceLROnPlateau.
_LR_FACTOR = 0.1
_LR_MIN_DELTA = 1e-4


def epoch_record(
    logs: dict[str, float], *, epoch: int, phase: str, learning_rate: float, seconds: float
) -> Epoch:
    """Returns an epoch's record as JSON values, with counts as integers."""
    return {
        "epoch": epoch,
        "phase": phase,
        **as_json(logs),
        "learning_rate": learning_rate,
        "seconds": round(seconds, 3),
    }


def as_json(logs: dict[str, float]) -> dict[str, int | float]:
    """Returns metrics as JSON values, with counts as integers."""
    return {
        name: round(value) if name.removeprefix("val_") in _COUNTS else float(value)
        for name, value in logs.items()
    }


def best_index(epochs: Sequence[Epoch]) -> int:
    """Returns the index of the epoch with the highest PR-AUC on val.

    Of equal ones, which a PR-AUC of 1 on few positive images often has, it is the one with the
    lowest loss on val, and of these the first.
    """
    return max(
        range(len(epochs)),
        key=lambda index: (epochs[index][MONITORED], -epochs[index]["val_loss"]),
    )


def exported_index(epochs: Sequence[Epoch], *, keep: str) -> int:
    """Returns the index of the epoch to keep.

    Args:
      epochs: the finished epochs.
      keep: `best` or `last`.
    """
    return best_index(epochs) if keep == "best" else len(epochs) - 1


def solver_sentence(solver: Mapping[str, Any]) -> str:
    """Returns how a head was solved in words.

    Args:
      solver: see `components.trainer.solved_head.SolvedHead`.
    """
    steps = f"{solver['iterations']} iterations"
    ended = f"in {steps}" if solver["converged"] else f"but did not converge in {steps}"
    chosen = "by cross-validation inside train" if solver["penalty_chosen"] else "as set"
    if penalties := solver.get("penalties"):
        return (
            f"{len(penalties)} heads were solved by L-BFGS instead of trained in epochs, {ended}; "
            f"their penalties are C = {min(penalties):.3g} to {max(penalties):.3g}, {chosen}"
        )
    if solver["penalty_chosen"]:
        chosen = f"the best of {len(solver['cross_validation'])} {chosen}"
    return (
        f"The head was solved by L-BFGS instead of trained in epochs, {ended}; its penalty is "
        f"C = {solver['penalty']:.3g}, {chosen}"
    )


def is_finished(epochs: Sequence[Epoch], *, limit: int, patience: int | None) -> bool:
    """Returns whether training ends after these epochs.

    Args:
      epochs: the finished epochs of one phase.
      limit: maximum number of epochs of the phase.
      patience: epochs without a better PR-AUC on val after which it ends early; None never
        ends it early.
    """
    if len(epochs) >= limit:
        return True
    if patience is None or not epochs:
        return False
    highest = max(range(len(epochs)), key=lambda index: epochs[index][MONITORED])
    return len(epochs) - 1 - highest >= patience


def learning_rate(epochs: Sequence[Epoch], *, initial: float, patience: int | None) -> float:
    """Returns the learning rate of the next epoch.

    Args:
      epochs: the finished epochs of one phase.
      initial: learning rate of the first epoch.
      patience: epochs without a lower loss on val (by 1e-4) after which the rate is divided by
        ten; None keeps it constant.
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
