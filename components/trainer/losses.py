"""The losses of a training: one value per image, from its label and the network's log odds.

Every loss has two forms with the same values: a TensorFlow function, whose gradient trains a
network by steps, and a NumPy function with the derivative by the log odds, for solvers of a whole
problem. Labels are 0, 1 or a number between, as label smoothing and mixup make them. All are
smooth, and all but the focal loss are convex in the log odds.

- `binary_crossentropy` and `focal`, as in Keras.
- `logit_adjusted`: the cross-entropy of the log odds plus `tau` times the log prior odds of the
  training images. The network itself then estimates log odds without that share of the prior: with
  `tau` 1 those of a balanced population.
- `balanced_softmax`: the softmax in which each class is weighted by its number of images. With two
  classes and a sigmoid, that is `logit_adjusted` with `tau` 1: the share of the positive class is
  p·exp(a) / (p·exp(a) + n·exp(b)), which is the sigmoid of a - b + log(p / n).
- `ldam`: the cross-entropy after a margin is subtracted from the true class. The margin is larger
  for the class with fewer images, in proportion to (number of images)^(-1/4). The source takes it
  from cosines, which it then multiplies by a scale of 30. Here features and weights are not
  normalised, so the margin is in log odds: the source's margin times its scale. The weights of its
  deferred re-weighting are in `deferred_weights`.

Sources: A. Menon et al., Long-tail Learning via Logit Adjustment, ICLR 2021, eq. 9 and 10;
J. Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, NeurIPS 2020, eq. 3;
K. Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS 2019,
eq. 13; Y. Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019 (the
weights); T.-Y. Lin et al., Focal Loss for Dense Object Detection, ICCV 2017; C. Szegedy et al.,
Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (label smoothing).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy import special

from components.trainer import methods
from components.trainer.settings import FOCAL_GAMMA, ClassWeight, TrainerSettings

Array = NDArray[np.float64]

# As in Keras, where the log odds are not known.
_EPSILON = 1e-7


class Loss(Protocol):
    """A loss per image; labels from 0 to 1 and log odds have the same shape."""

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image, float32."""
        ...

    def value_and_derivative(self, labels: Array, logits: Array) -> tuple[Array, Array]:
        """Returns the loss of each image, and its derivative by the image's log odds."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """The binary cross-entropy of shifted log odds.

    Attributes:
      shift: what is added to the log odds.
    """

    shift: float = 0.0

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image."""
        return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits + self.shift)

    def value_and_derivative(self, labels: Array, logits: Array) -> tuple[Array, Array]:
        """Returns the loss of each image, and its derivative."""
        shifted = logits + self.shift
        return np.logaddexp(0, shifted) - labels * shifted, special.expit(shifted) - labels


@dataclass(frozen=True)
class Focal:
    """The focal loss, without class balancing.

    Attributes:
      gamma: how much less an image counts that is already right.
    """

    gamma: float = FOCAL_GAMMA

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image."""
        wrong = labels * tf.sigmoid(-logits) + (1 - labels) * tf.sigmoid(logits)
        return wrong**self.gamma * tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)

    def value_and_derivative(self, labels: Array, logits: Array) -> tuple[Array, Array]:
        """Returns the loss of each image, and its derivative."""
        entropy, of_entropy = CrossEntropy().value_and_derivative(labels, logits)
        right, left = special.expit(logits), special.expit(-logits)
        wrong = labels * left + (1 - labels) * right
        of_wrong = (1 - 2 * labels) * right * left
        derivative = self.gamma * wrong ** (self.gamma - 1) * of_wrong * entropy
        return wrong**self.gamma * entropy, derivative + wrong**self.gamma * of_entropy


@dataclass(frozen=True)
class MarginLoss:
    """The cross-entropy after a margin is subtracted from the true class.

    Attributes:
      positive: margin of a positive image, in log odds.
      negative: margin of a negative image.
    """

    positive: float
    negative: float

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image."""
        of_positive = tf.nn.softplus(self.positive - logits)
        return labels * of_positive + (1 - labels) * tf.nn.softplus(logits + self.negative)

    def value_and_derivative(self, labels: Array, logits: Array) -> tuple[Array, Array]:
        """Returns the loss of each image, and its derivative."""
        missing, excess = self.positive - logits, logits + self.negative
        value = labels * np.logaddexp(0, missing) + (1 - labels) * np.logaddexp(0, excess)
        return value, (1 - labels) * special.expit(excess) - labels * special.expit(missing)


@dataclass(frozen=True)
class Smoothed:
    """A loss with label smoothing.

    Attributes:
      loss: the loss of the smoothed labels.
      smoothing: share of each label that is replaced by 0.5, as in Keras.
    """

    loss: Loss
    smoothing: float

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image."""
        return self.loss(labels * (1 - self.smoothing) + self.smoothing / 2, logits)

    def value_and_derivative(self, labels: Array, logits: Array) -> tuple[Array, Array]:
        """Returns the loss of each image, and its derivative."""
        smoothed = labels * (1 - self.smoothing) + self.smoothing / 2
        return self.loss.value_and_derivative(smoothed, logits)


def of_settings(settings: TrainerSettings, *, positives: int, negatives: int) -> Loss:
    """Returns the loss of a training.

    Args:
      settings: the trainer's settings.
      positives: positive images per epoch, above 0.
      negatives: negative images per epoch, above 0.
    """
    loss = _unsmoothed(settings, positives, negatives)
    return Smoothed(loss, settings.label_smoothing) if settings.label_smoothing else loss


def _unsmoothed(settings: TrainerSettings, positives: int, negatives: int) -> Loss:
    if settings.loss == methods.FOCAL:
        return Focal()
    if (ldam := methods.ldam_of(settings)) is not None:
        return MarginLoss(*margins(positives, negatives, largest=ldam.margin))
    in_training = settings.post_hoc is None
    tau = methods.adjustment(settings) if in_training else 0.0
    return CrossEntropy(tau * math.log(positives / negatives))


def margins(positives: int, negatives: int, *, largest: float) -> tuple[float, float]:
    """Returns the margins of positive and negative images for `ldam`.

    Args:
      positives: number of positive images, above 0.
      negatives: number of negative images, above 0.
      largest: margin of the side with fewer images, in log odds.
    """
    fewest = min(positives, negatives)
    positive, negative = (largest * (fewest / size) ** 0.25 for size in (positives, negatives))
    return positive, negative


def deferred_weights(positives: int, negatives: int, *, beta: float) -> ClassWeight:
    """Returns the weights of deferred re-weighting: the inverse of the effective numbers of images.

    Their mean over the two sides is 1, as in the source's code.

    Args:
      positives: number of positive images, above 0.
      negatives: number of negative images, above 0.
      beta: from 0, where both weights are 1, to below 1; at 1 they would be inverse to the numbers.
    """
    positive, negative = ((1 - beta) / (1 - beta**size) for size in (positives, negatives))
    mean = (positive + negative) / 2
    return ClassWeight(positive=positive / mean, negative=negative / mean)


class KerasLoss(keras.losses.Loss):
    """A loss for `Model.compile`, of a network whose last layer is a sigmoid."""

    def __init__(self, loss: Loss, **options: str | None):
        """Wraps a loss.

        Args:
          loss: the loss per image.
          options: Keras's, such as `reduction`.
        """
        super().__init__(name="loss", **options)
        self._loss = loss

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the losses (b,) of labels and probabilities (b, 1)."""
        # Keras's own losses also read them from here: the sigmoid of 17 is 1 in float32.
        logits = getattr(y_pred, "_keras_logits", None)
        if logits is None:
            clipped = tf.clip_by_value(y_pred, _EPSILON, 1 - _EPSILON)
            logits = tf.math.log(clipped) - tf.math.log1p(-clipped)
        return self._loss(y_true, logits)[:, 0]
