"""Chooses the penalty of a linear head by cross-validation inside the training images.

The folds are stratified. The penalties are tried from strong to weak until the held-out loss no
longer falls; each fit begins at the one before. The loss is the one that is minimised, with its
weights: it changes smoothly with the penalty, while PR-AUC and F1 of a few positive images jump
with every image. Near-duplicates can be in different folds, though never in different splits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.trainer.solver import APPROXIMATE, Floats, LinearProblem, Solution

FOLDS = 5
_SEED = 0
# C times the mean square distance of the features from their mean, so that features of other
# backbones, which have other units, have the same choice.
_STRONGEST, _WEAKEST = 0.1, 1e5
_STEP = math.sqrt(10)
# Weaker penalties are not tried after this many that are worse than the best.
_PATIENCE = 2


@dataclass(frozen=True)
class PenaltyScore:
    """The cross-validation of one penalty.

    Attributes:
      penalty: C as in scikit-learn.
      loss: weighted mean loss of the held-out images.
      standard_error: its standard error, with each side drawn on its own.
    """

    penalty: float
    loss: float
    standard_error: float


@dataclass(frozen=True)
class ChosenPenalty:
    """A penalty and how it was chosen.

    Attributes:
      penalty: C as in scikit-learn.
      scores: the penalties that were tried, from strong to weak.
    """

    penalty: float
    scores: tuple[PenaltyScore, ...]


def choose(problem: LinearProblem) -> ChosenPenalty | None:
    """Returns the penalty with the lowest held-out loss.

    Args:
      problem: the training images.

    Returns:
      None if a side has fewer than two images, which can't be divided.
    """
    folds = _folds(problem.labels)
    if not folds:
        return None
    validation = _CrossValidation(problem, folds)
    tried: list[PenaltyScore] = []
    for penalty in _penalties(problem.scale):
        tried.append(validation.evaluate(penalty))
        best = min(range(len(tried)), key=lambda index: tried[index].loss)
        if len(tried) - 1 - best == _PATIENCE:
            break
    return ChosenPenalty(tried[best].penalty, tuple(tried))


def _penalties(scale: float) -> list[float]:
    unit = scale**2 or 1.0
    count = 1 + round(math.log(_WEAKEST / _STRONGEST, _STEP))
    return [float(f"{_STRONGEST * _STEP**step / unit:.2g}") for step in range(count)]


class _CrossValidation:
    """Evaluates penalties, from strong to weak, on the same folds."""

    def __init__(self, problem: LinearProblem, folds: Sequence[NDArray[np.bool_]]):
        self._problem = problem
        self._held_out = np.stack(folds)
        self._last: Solution | None = None

    def evaluate(self, penalty: float) -> PenaltyScore:
        """Returns the score of a penalty."""
        problem = self._problem
        self._last = problem.solve(
            penalty, among=~self._held_out, start=self._last, tolerance=APPROXIMATE
        )
        # Each image is held out of one fold.
        logits = np.where(self._held_out, problem.logits(self._last), 0.0).sum(axis=0)
        return _score(penalty, problem.image_losses(logits), problem)


def _score(penalty: float, losses: Floats, problem: LinearProblem) -> PenaltyScore:
    shares = problem.weights / problem.weights.sum()
    variance = 0.0
    for side in (problem.labels == 0, problem.labels == 1):
        mean = np.average(losses[side], weights=shares[side])
        variance += float(np.sum((shares[side] * (losses[side] - mean)) ** 2))
    return PenaltyScore(penalty, float(shares @ losses), math.sqrt(variance))


def _folds(labels: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Returns the images (n,) that each fold holds out; no folds if a side can't be divided."""
    # Imported here, since it imports scipy.stats.
    from sklearn.model_selection import StratifiedKFold

    count = min(FOLDS, *(int(np.sum(labels == side)) for side in (0, 1)))
    if count < 2:
        return []
    folds = StratifiedKFold(count, shuffle=True, random_state=_SEED).split(labels, labels)
    return [np.isin(np.arange(len(labels)), held) for _, held in folds]
