"""Chooses the penalty of a linear head by cross-validation inside the training images.

The folds are stratified. The penalties are tried from strong to weak until the held-out loss no
longer falls; each fit begins at the one before. The loss is the one that is minimised, with its
weights: it changes smoothly with the penalty, while PR-AUC and F1 of a few positive images jump
with every image. All views of an image are in one fold, and its held-out loss is that of their
mean, which the model is given. Only images are held out: the rows that SMOTE adds lie between two
images, so each fold has its own, of the images that it is fitted on.

Like the splits, the folds never part a unit: images of one group, and near-duplicates. If a head
were fitted on images of the patient whose others are held out, too weak a penalty would seem best.
Where each unit is one image, the folds are those of scikit-learn's StratifiedKFold. Where not, they
are not those of its StratifiedGroupKFold: for 50,000 units it takes ten seconds, and the rule here,
whose folds are as balanced, a third of a second. A study makes this choice for each arm and draw.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.trainer.solver import APPROXIMATE, Floats, LinearProblem, Solution
from components.trainer.units import binding

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


@dataclass(frozen=True)
class RefittedFold:
    """A fold that is fitted on rows of its own.

    Attributes:
      problem: the rows that are fitted.
      values: (m, d), the features of the images that are held out.
      labels: (m,) of them.
      weights: (m,) of them, in the loss.
    """

    problem: LinearProblem
    values: NDArray[np.floating]
    labels: NDArray[np.int64]
    weights: Floats


def choose(problem: LinearProblem, units: NDArray[np.int64] | None = None) -> ChosenPenalty | None:
    """Returns the penalty with the lowest held-out loss.

    Args:
      problem: the training images.
      units: (n,), the same number for images of one unit; None: each is by itself.

    Returns:
      None if a side can't be divided, see `folds`.
    """
    held_out = folds(problem.labels, units)
    if not held_out:
        return None
    return _lowest(_CrossValidation(problem, held_out).evaluate, problem.scale)


def choose_refitted(refitted: Sequence[RefittedFold]) -> ChosenPenalty | None:
    """Returns the penalty with the lowest held-out loss, of folds with rows of their own.

    Args:
      refitted: the folds; their held-out images are all training images, each once.

    Returns:
      None if there is no fold.
    """
    if not refitted:
        return None
    return _lowest(_RefittedFolds(refitted).evaluate, refitted[0].problem.scale)


def _lowest(evaluate: Callable[[float], PenaltyScore], scale: float) -> ChosenPenalty:
    tried: list[PenaltyScore] = []
    for penalty in _penalties(scale):
        tried.append(evaluate(penalty))
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

    def __init__(self, problem: LinearProblem, held_out: Sequence[NDArray[np.bool_]]):
        self._problem = problem
        self._held_out = np.stack(held_out)
        self._last: Solution | None = None

    def evaluate(self, penalty: float) -> PenaltyScore:
        """Returns the score of a penalty."""
        problem = self._problem
        self._last = problem.solve(
            penalty, among=~self._held_out, start=self._last, tolerance=APPROXIMATE
        )
        # Each image is held out of one fold.
        logits = np.where(self._held_out, problem.logits(self._last), 0.0).sum(axis=0)
        return _score(penalty, problem.image_losses(logits), problem.labels, problem.weights)


class _RefittedFolds:
    """Evaluates penalties, from strong to weak, on folds with rows of their own."""

    def __init__(self, refitted: Sequence[RefittedFold]):
        self._folds = refitted
        self._labels = np.concatenate([fold.labels for fold in refitted])
        self._weights = np.concatenate([fold.weights for fold in refitted])
        self._last: list[Solution | None] = [None] * len(refitted)

    def evaluate(self, penalty: float) -> PenaltyScore:
        """Returns the score of a penalty."""
        losses = []
        for index, fold in enumerate(self._folds):
            found = fold.problem.solve(penalty, start=self._last[index], tolerance=APPROXIMATE)
            kernel, bias = fold.problem.head(found)
            logits = fold.values.astype(np.float64) @ kernel + bias
            losses.append(fold.problem.losses(fold.labels, logits[:, 0]))
            self._last[index] = found
        return _score(penalty, np.concatenate(losses), self._labels, self._weights)


def _score(
    penalty: float, losses: Floats, labels: NDArray[np.int64], weights: Floats
) -> PenaltyScore:
    shares = weights / weights.sum()
    variance = 0.0
    for side in (labels == 0, labels == 1):
        mean = np.average(losses[side], weights=shares[side])
        variance += float(np.sum((shares[side] * (losses[side] - mean)) ** 2))
    return PenaltyScore(penalty, float(shares @ losses), math.sqrt(variance))


def folds(
    labels: NDArray[np.int64], units: NDArray[np.int64] | None = None
) -> list[NDArray[np.bool_]]:
    """Divides the training images into folds; all images of a unit are in one.

    Args:
      labels: (n,), 0 or 1.
      units: (n,), the same number for images of one unit; None: each is by itself.

    Returns:
      the images (n,) that each fold holds out; no folds if a side is in fewer than two units, or if
      the images outside of a fold would be of one side.
    """
    bound = units if units is not None and binding(units) else None
    of_image = np.arange(len(labels)) if bound is None else bound
    count = min(FOLDS, *(len(np.unique(of_image[labels == side])) for side in (0, 1)))
    if count < 2:
        return []
    if bound is None:
        return _stratified(labels, count)
    held_out = _of_units(labels, bound, count)
    return held_out if all(len(np.unique(labels[~held])) == 2 for held in held_out) else []


def _stratified(labels: NDArray[np.int64], count: int) -> list[NDArray[np.bool_]]:
    # Imported here, since it imports scipy.stats.
    from sklearn.model_selection import StratifiedKFold

    splits = StratifiedKFold(count, shuffle=True, random_state=_SEED).split(labels, labels)
    return [np.isin(np.arange(len(labels)), held) for _, held in splits]


def _of_units(
    labels: NDArray[np.int64], units: NDArray[np.int64], count: int
) -> list[NDArray[np.bool_]]:
    """Adds each unit, from large to small, to the fold that has the least of the unit's sides.

    The sum of the squares of the folds' shares of each side then grows least.
    """
    _, unit_of = np.unique(units, return_inverse=True)
    sizes = np.stack([np.bincount(unit_of, weights=labels == side) for side in (0, 1)], axis=1)
    shares = sizes / sizes.sum(axis=0)
    order = np.random.default_rng(_SEED).permutation(len(shares))
    order = order[np.argsort(-shares[order].sum(axis=1), kind="stable")]
    fold_of = np.empty(len(shares), np.intp)
    held = np.zeros((count, 2))
    for unit in order:
        fold_of[unit] = np.argmin((held * shares[unit]).sum(axis=1))
        held[fold_of[unit]] += shares[unit]
    return [fold_of[unit_of] == fold for fold in range(count)]
