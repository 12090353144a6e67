"""The pooled head of a frozen network, solved exactly on the features of its images.

It needs neither epochs nor batches nor a learning rate: `components.trainer.solver` ends at the
optimum, and `components.trainer.penalty` chooses the penalty inside train.
"""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from components.trainer import history
from components.trainer.features import Rows
from components.trainer.heads import Weights
from components.trainer.history import Epoch
from components.trainer.losses import Loss
from components.trainer.penalty import ChosenPenalty, choose
from components.trainer.sampling import (
    epoch_size,
    expected_counts,
    loss_weights,
    training_loss,
)
from components.trainer.settings import POOLED_HEAD_C, TrainerSettings
from components.trainer.solver import Floats, LinearProblem, Solution
from components.trainer.training import epoch_metrics, val_metrics

_LOGGER = logging.getLogger("outnumbered.trainer")

SOLVED = "solved"
"""Phase of the only epoch in a solved head's history."""


@dataclass(frozen=True)
class SolvedHead:
    """A solved head.

    Attributes:
      weights: kernel (d, 1) and bias (1,).
      epoch: the metrics at the optimum, on the distinct images of train and on val.
      solver: how it was solved, as plain JSON values: `optimizer`, `iterations`, `converged`,
        `penalty`, `penalty_chosen` (whether by cross-validation), and `cross_validation`, the
        penalties that were tried.
    """

    weights: Weights
    epoch: Epoch
    solver: dict[str, Any]


def solve_head(settings: TrainerSettings, train: Rows, val: Rows) -> SolvedHead:
    """Solves the head on the images of an epoch, each weighted by how often it occurs in one.

    Args:
      settings: the trainer's settings; their seed chooses the images of an undersampled side.
      train: pooled features (n, d) to train on.
      val: pooled features on which the result is measured.

    Raises:
      ValueError: a feature is not a finite number.
    """
    started = time.monotonic()
    counts = expected_counts(
        train.labels, strategy=settings.sampling_strategy, random_state=settings.random_state
    )
    rows = np.flatnonzero(counts)
    weights = counts[rows] * _side_weights(settings, train.labels)[train.labels[rows]]
    loss = training_loss(train.labels, settings)
    problem = LinearProblem(train.values[rows], train.labels[rows], weights, loss=loss)
    chosen = choose(problem) if settings.penalty == "auto" else None
    penalty = _penalty(settings, chosen)
    solution = problem.solve(penalty)
    if not solution.converged:
        _LOGGER.warning(
            "the head did not converge in %d iterations at a penalty of %.3g; set "
            "trainer.penalty to a smaller number, which is a stronger penalty",
            *(solution.iterations, penalty),
        )
    # The penalty of the mean loss of an epoch's images.
    images = epoch_size(train.labels, settings.sampling_strategy)
    added = float(np.square(solution.kernels).sum()) / (2 * penalty * images)
    logs = {
        **epoch_metrics(
            problem.labels,
            expit(problem.logits(solution)[0]),
            solution.losses[0] * weights.sum() / images + added,
        ),
        **_val_metrics(loss, problem.head(solution), val, added),
    }
    epoch = {"epoch": 1, "phase": SOLVED, **history.as_json(logs)}
    epoch["seconds"] = round(time.monotonic() - started, 3)
    return SolvedHead(problem.head(solution), epoch, _summary(solution, penalty, chosen))


def _side_weights(settings: TrainerSettings, labels: NDArray[np.int64]) -> Floats:
    """Returns the weight in the loss of a negative and of a positive image."""
    weights = loss_weights(
        labels, strategy=settings.sampling_strategy, class_weight=settings.class_weight
    )
    return np.array([weights[side] if weights else 1.0 for side in (0, 1)])


def _penalty(settings: TrainerSettings, chosen: ChosenPenalty | None) -> float:
    if chosen is not None:
        return chosen.penalty
    return POOLED_HEAD_C if settings.penalty == "auto" else settings.penalty


def _summary(solution: Solution, penalty: float, chosen: ChosenPenalty | None) -> dict[str, Any]:
    return {
        "optimizer": "lbfgs",
        "iterations": solution.iterations,
        "converged": solution.converged,
        "penalty": penalty,
        "penalty_chosen": chosen is not None,
        "cross_validation": [asdict(score) for score in chosen.scores] if chosen else [],
    }


def _val_metrics(loss: Loss, head: Weights, val: Rows, added: float) -> dict[str, float]:
    kernel, bias = head
    logits = (val.values.astype(np.float64) @ kernel + bias)[:, 0]
    losses, _ = loss.value_and_derivative(val.labels.astype(np.float64), logits)
    return val_metrics(val.labels, expit(logits), float(losses.mean()) + added)
