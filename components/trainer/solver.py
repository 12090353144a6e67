"""Fits a linear head on frozen features exactly: a smooth loss with an L2 penalty, by L-BFGS.

Such a head, logistic regression with the cross-entropy, has one optimum, which an optimizer that
steps through batches only circles: after its last epoch it is somewhere near it, elsewhere for
each seed. L-BFGS on all images at once ends at the optimum itself.

An image may have several rows of features, one of each of its views, which share its weight. The
head's logit of an image is then the mean of those of its rows, which for a linear head is the logit
of their mean: so it is applied to the mean of the views.

Heads on different images, such as the folds of a cross-validation, are fitted together: as one
function of all their weights, whose parts are independent, so that each step reads the features
once for all of them.

Source: D. C. Liu and J. Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization,
Mathematical Programming 45 (1989).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from components.trainer.losses import Loss

Floats = NDArray[np.float64]

MAX_ITERATIONS = 1000
EXACT = 1e-8
"""Tolerance of a head that is used: its probabilities are exact to about six digits."""
APPROXIMATE = 1e-4
"""Tolerance of heads that are only compared, which are fitted in float32."""

# Rounding may end the last search for a step just above the tolerance.
_ROUNDING = 100
# Pairs of steps and gradients from which L-BFGS estimates the curvature.
_MEMORY = 20


@dataclass(frozen=True)
class Solution:
    """Heads that were fitted together.

    Attributes:
      kernels: float64 (k, d).
      biases: float64 (k,), the logits at the mean of the features.
      losses: float64 (k,), the weighted mean loss of the images of each, without the penalty.
      iterations: number of steps.
      converged: whether the gradient is within the tolerance.
    """

    kernels: Floats
    biases: Floats
    losses: Floats
    iterations: int
    converged: bool


class LinearProblem:
    """Images on which linear heads are fitted."""

    def __init__(
        self,
        values: NDArray[np.floating],
        labels: NDArray[np.int64],
        weights: Floats,
        *,
        loss: Loss,
    ):
        """Prepares the features.

        Args:
          values: (n, d), the features; or (n, views, d), those of each view of each image.
          labels: (n,), 0 or 1.
          weights: (n,), above 0: how much each image counts in the loss, such as its class weight
            times how often it occurs in an epoch.
          loss: the loss of each image.

        Raises:
          ValueError: a feature is not a finite number.
        """
        self.labels = labels
        self.weights = np.asarray(weights, np.float64)
        self._views = values.shape[1] if values.ndim == 3 else 1
        self._targets = self._by_row(labels.astype(np.float64))
        self._row_weights = self._by_row(self.weights / self._views)
        self._loss = loss.value_and_derivative
        whole = np.asarray(values, np.float64).reshape(len(self._targets), -1)
        if not np.isfinite(whole).all():
            raise ValueError("features must be finite numbers. Received: NaN or infinity")
        # A bias that is not penalised absorbs any shift, and centred features need fewer steps.
        self._mean = np.average(whole, axis=0, weights=self._row_weights)
        self._values = whole - self._mean
        squares = np.einsum("nd,nd->n", self._values, self._values)
        self.scale = float(np.sqrt(np.average(squares, weights=self._row_weights)))
        """Root mean square distance of a row's features from their mean."""

    def _by_row(self, of_images: NDArray[Any]) -> NDArray[Any]:
        """Repeats values of the images (..., n) for their rows, (..., n x views)."""
        return np.repeat(of_images, self._views, axis=-1)

    def solve(
        self,
        penalty: float,
        *,
        among: NDArray[np.bool_] | None = None,
        start: Solution | None = None,
        tolerance: float = EXACT,
    ) -> Solution:
        """Returns the heads of least weighted loss plus penalty.

        The result does not depend on `start`, unless the loss is not convex, but the number of
        iterations does; nor does it depend on the number of threads.

        Args:
          penalty: C as in scikit-learn: the sum of the weighted losses is minimised plus
            ||kernel||² / (2 C).
          among: (k, n), the images that each head is fitted on; one head on all images if None.
          start: where to begin; heads of zeros if None.
          tolerance: largest component of the gradient, relative to the loss at the start, for
            features in units of `scale`. From `APPROXIMATE` on in float32.
        """
        among = np.ones((1, len(self.labels)), np.bool_) if among is None else among
        objective = _Objective(self, penalty, among, single=tolerance >= APPROXIMATE)
        first = objective.parameters(start)
        with threadpool_limits(1, "blas"):
            limit = tolerance * objective(first)[0]
            found = minimize(
                objective,
                first,
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxcor": _MEMORY,
                    "maxiter": MAX_ITERATIONS,
                    "maxfun": 2 * MAX_ITERATIONS,
                    "gtol": limit,
                    "ftol": 0.0,
                },
            )
        kernels, biases = objective.heads(found.x)
        return Solution(
            kernels=kernels,
            biases=biases,
            losses=objective.losses(found.x),
            iterations=int(found.nit),
            converged=bool(np.abs(found.jac).max() <= _ROUNDING * limit),
        )

    def logits(self, solution: Solution) -> Floats:
        """Returns the logits of all images by each head: (k, n)."""
        of_rows = solution.kernels @ self._values.T + solution.biases[:, None]
        return of_rows.reshape(len(of_rows), -1, self._views).mean(axis=-1)

    def image_losses(self, logits: Floats) -> Floats:
        """Returns the losses of all images, without weights, of logits (k, n) or (n,)."""
        return self.losses(self.labels, logits)

    def losses(self, labels: NDArray[np.int64], logits: Floats) -> Floats:
        """Returns the losses of other images, (n,), without weights."""
        return self._loss(labels.astype(np.float64), logits)[0]

    def head(self, solution: Solution) -> list[NDArray[np.float32]]:
        """Returns the kernel (d, 1) and the bias (1,) of the first head, for the features."""
        kernel = solution.kernels[0]
        bias = solution.biases[0] - self._mean @ kernel
        return [kernel[:, None].astype(np.float32), np.array([bias], np.float32)]


class _Objective:
    """The sum of the mean losses and penalties of k heads, as a function of all parameters.

    The kernels are for features divided by their scale, so that all steps have the same unit.
    """

    def __init__(
        self, problem: LinearProblem, penalty: float, among: NDArray[np.bool_], *, single: bool
    ):
        self._scale = problem.scale or 1.0
        self._values: NDArray[Any] = np.asarray(
            problem._values / self._scale, np.float32 if single else np.float64
        )
        self._targets, self._loss = problem._targets, problem._loss
        weights = np.where(problem._by_row(among), problem._row_weights, 0.0)
        totals = weights.sum(axis=1)
        self._weights = weights / totals[:, None]
        # The penalty of a mean loss, on a kernel for features of scale 1.
        self._factors = 1 / (penalty * totals * self._scale**2)

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        kernels, biases = self._split(parameters)
        losses, slopes = self._loss(self._targets, self._logits(kernels, biases))
        slopes = slopes * self._weights
        products = self._rounded(slopes) @ self._values
        gradient = np.hstack(
            [products + self._factors[:, None] * kernels, slopes.sum(axis=1)[:, None]]
        )
        penalties = self._factors / 2 * np.square(kernels).sum(axis=1)
        return float((self._weights * losses).sum() + penalties.sum()), gradient.ravel()

    def parameters(self, start: Solution | None) -> Floats:
        """Returns the parameters at which to begin."""
        if start is None:
            return np.zeros(len(self._weights) * (self._values.shape[1] + 1))
        return np.hstack([start.kernels * self._scale, start.biases[:, None]]).ravel()

    def heads(self, parameters: Floats) -> tuple[Floats, Floats]:
        """Returns the kernels (k, d) for the features in their own units, and the biases (k,)."""
        kernels, biases = self._split(parameters)
        return kernels / self._scale, biases

    def losses(self, parameters: Floats) -> Floats:
        """Returns the weighted mean loss of the images of each head: (k,)."""
        losses, _ = self._loss(self._targets, self._logits(*self._split(parameters)))
        return (self._weights * losses).sum(axis=1)

    def _split(self, parameters: Floats) -> tuple[Floats, Floats]:
        table = parameters.reshape(len(self._weights), -1)
        return table[:, :-1], table[:, -1]

    def _logits(self, kernels: Floats, biases: Floats) -> Floats:
        products = self._rounded(kernels) @ self._values.T
        return np.asarray(products, np.float64) + biases[:, None]

    def _rounded(self, values: Floats) -> NDArray[Any]:
        return np.asarray(values, self._values.dtype)
