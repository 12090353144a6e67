"""The pooled head of a frozen network, solved exactly on the features of its images.

It needs neither epochs nor batches nor a learning rate: `components.trainer.solver` ends at the
optimum, and `components.trainer.penalty` chooses the penalty inside train. Weights that are
deferred to the last epochs are those of the optimum, whatever the first epochs would have weighted.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from components.trainer import history, methods, smote
from components.trainer import penalty as penalties
from components.trainer.features import Rows
from components.trainer.heads import Weights
from components.trainer.history import Epoch
from components.trainer.methods import Smote
from components.trainer.sampling import (
    epoch_size,
    expected_counts,
    final_weights,
    training_loss,
)
from components.trainer.settings import POOLED_HEAD_C, Mixture, TrainerSettings
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
      train: pooled features (n, d) to train on, or those of each view, (n, views, d).
      val: pooled features on which the result is measured.

    Raises:
      ValueError: a feature is not a finite number.
    """
    started = time.monotonic()
    problem = _problem(settings, train)
    chosen = _choose(settings, train, problem) if settings.penalty == "auto" else None
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
            solution.losses[0] * problem.weights.sum() / images + added,
        ),
        **_val_metrics(problem, solution, val, added),
    }
    epoch = {"epoch": 1, "phase": SOLVED, **history.as_json(logs)}
    epoch["seconds"] = round(time.monotonic() - started, 3)
    return SolvedHead(problem.head(solution), epoch, _summary(solution, penalty, chosen))


def _problem(settings: TrainerSettings, train: Rows) -> LinearProblem:
    """Returns the rows of an epoch, with those that SMOTE adds, each with its weight.

    Raises:
      ValueError: as `smote.new_rows`; a feature is not a finite number.
    """
    rows = smote.enlarged(train, settings.sampling_strategy, [settings.random_state]).rows
    weights = _image_weights(settings, train)
    if len(rows.labels) > len(train.labels):
        # New rows in place of images that count more than once.
        weights = _side_weights(settings, train.labels)[rows.labels]
    used = np.flatnonzero(weights)
    loss = training_loss(train.labels, settings)
    return LinearProblem(rows.values[used], rows.labels[used], weights[used], loss=loss)


def _image_weights(settings: TrainerSettings, train: Rows) -> Floats:
    """Returns how much each image counts in the loss of an epoch: (n,), 0 if it is not used."""
    counts = expected_counts(
        train.labels, strategy=settings.sampling_strategy, random_state=settings.random_state
    )
    return counts * _side_weights(settings, train.labels)[train.labels]


def _side_weights(settings: TrainerSettings, labels: NDArray[np.int64]) -> Floats:
    """Returns the weight in the loss of a negative and of a positive image."""
    weights = final_weights(labels, settings)
    return np.array([weights[side] if weights else 1.0 for side in (0, 1)])


def _choose(
    settings: TrainerSettings, train: Rows, problem: LinearProblem
) -> penalties.ChosenPenalty | None:
    """Chooses the penalty; None if a side has too few units to be divided."""
    made = methods.smote_of(settings.sampling_strategy)
    if made is None:
        used = np.flatnonzero(_image_weights(settings, train))
        return penalties.choose(problem, None if train.units is None else train.units[used])
    return penalties.choose_refitted(list(_smote_folds(settings, made, train)))


def _smote_folds(
    settings: TrainerSettings, made: Smote, train: Rows
) -> Iterator[penalties.RefittedFold]:
    weights = _image_weights(settings, train)
    for held_out in penalties.folds(train.labels, train.units):
        fitted = Rows(train.values[np.flatnonzero(~held_out)], train.labels[~held_out])
        yield penalties.RefittedFold(
            problem=_fold_problem(settings, made, fitted),
            values=train.values[np.flatnonzero(held_out)],
            labels=train.labels[held_out],
            weights=weights[held_out],
        )


def _fold_problem(settings: TrainerSettings, made: Smote, fitted: Rows) -> LinearProblem:
    """Returns the rows of a fold, which has fewer images than train."""
    fewer = made.model_copy(update={"few": methods.LOWER})
    try:
        return _problem(settings.model_copy(update={"sampling_strategy": fewer}), fitted)
    except ValueError:  # one image, or none at the border, is left of those that train has
        repeated = Mixture(oversample=made.ratio)
        return _problem(settings.model_copy(update={"sampling_strategy": repeated}), fitted)


def _penalty(settings: TrainerSettings, chosen: penalties.ChosenPenalty | None) -> float:
    if chosen is not None:
        return chosen.penalty
    return POOLED_HEAD_C if settings.penalty == "auto" else settings.penalty


def _summary(
    solution: Solution, penalty: float, chosen: penalties.ChosenPenalty | None
) -> dict[str, Any]:
    return {
        "optimizer": "lbfgs",
        "iterations": solution.iterations,
        "converged": solution.converged,
        "penalty": penalty,
        "penalty_chosen": chosen is not None,
        "cross_validation": [asdict(score) for score in chosen.scores] if chosen else [],
    }


def _val_metrics(
    problem: LinearProblem, solution: Solution, val: Rows, added: float
) -> dict[str, float]:
    kernel, bias = problem.head(solution)
    logits = (val.values.astype(np.float64) @ kernel + bias)[:, 0]
    losses = problem.losses(val.labels, logits)
    return val_metrics(val.labels, expit(logits), float(losses.mean()) + added)
