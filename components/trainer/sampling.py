"""The images of an epoch: which ones, how often, in which order, and with what weight.

The images of the train split are chosen before, by `components.imbalance_sampler`. A new
strategy is a case of `side_sizes` here and a value of `settings.Strategy`.

Strategies, named as in imbalanced-learn:

- `representative`: every image once, with the split's class balance.
- `balanced`, also called `undersample`: the larger side is undersampled to the size of the
  smaller; the choice depends on the seed and is the same in all epochs.
- `oversample`: every image of the larger side once; those of the smaller are repeated until both
  sides have the same size, with numbers of repetitions that differ by at most one.
- a `Mixture` of undersample u and oversample o: first the larger side is undersampled
  until the smaller is `u` times its size, then the smaller is repeated until it is `o` times the
  larger's size. A ratio that is already reached is ignored; either is optional.
- `smote` and `borderline_smote`: every image once, and new features of the smaller side, which
  `components.trainer.smote` adds to the rows before the first epoch.

In each, the sides are interleaved evenly, and the order of each epoch is a function of seed and
epoch, so a training that resumes at epoch k sees the same images as an uninterrupted one.
tf.data also uses TensorFlow's global seed for the interleaving, which `run_fn` sets.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components import names
from components.trainer import losses, methods
from components.trainer.losses import Loss
from components.trainer.settings import (
    FOCAL_GAMMA,
    ClassWeight,
    Mixture,
    Strategy,
    TrainerSettings,
)
from components.training_balance import TrainingBalance

_NEGATIVE_AND_POSITIVE = (names.NEGATIVE_LABEL, names.POSITIVE_LABEL)


def epoch_size(labels: np.ndarray, strategy: Strategy) -> int:
    """Returns the number of images per epoch, including repetitions."""
    return sum(side_sizes(labels, strategy))


def side_sizes(labels: np.ndarray, strategy: Strategy) -> list[int]:
    """Returns the numbers of negative and positive images per epoch."""
    counts = [int(np.sum(labels == side)) for side in _NEGATIVE_AND_POSITIVE]
    match strategy:
        case "representative":
            return counts
        case "balanced" | "undersample":
            return [min(counts)] * 2
        case "oversample":
            return [max(counts)] * 2
        case Mixture():
            return _mixed(counts, strategy.undersample, strategy.oversample)
    if (smote := methods.smote_of(strategy)) is not None:
        return methods.smote_sizes(counts, smote)
    raise ValueError(
        "sampling_strategy must be one of 'representative', 'balanced', 'undersample', "
        "'oversample', 'smote', 'borderline_smote', a mixture or the settings of SMOTE. "
        f"Received: {strategy!r}"
    )


def _mixed(counts: Sequence[int], undersample: float | None, oversample: float | None) -> list[int]:
    smaller, larger = sorted(counts)
    if undersample:
        larger = max(smaller, min(larger, round(smaller / undersample)))
    if oversample:
        smaller = max(smaller, round(larger * oversample))
    return [smaller, larger] if counts[0] <= counts[1] else [larger, smaller]


def epoch_order(
    labels: np.ndarray, *, strategy: Strategy, random_state: int, epoch: int
) -> np.ndarray:
    """Returns the images of one epoch as int64 (n,), for rows that are in memory.

    They are the images of `epoch_indices`, mixed by the same rule: the side of each next image
    is drawn in proportion to the sides' sizes until one side is exhausted. tf.data takes a tenth
    of a second for an order, in which time a small head on features trains for an epoch.

    Args: as `epoch_indices`.
    """
    order = np.random.default_rng([random_state, epoch])
    sides = _sides(labels, strategy, random_state, order)
    sizes = [len(side) for side in sides]
    positive = order.random(sum(sizes)) < sizes[1] / sum(sizes)
    drawn = np.cumsum([~positive, positive], axis=1)
    ended = np.flatnonzero((drawn >= np.array(sizes)[:, None]).any(axis=0))[0] + 1
    positive[ended:] = drawn[0, ended - 1] >= sizes[0]
    mixed = np.empty(sum(sizes), np.int64)
    mixed[~positive], mixed[positive] = sides
    return mixed


def expected_counts(
    labels: np.ndarray, *, strategy: Strategy, random_state: int
) -> NDArray[np.float64]:
    """Returns how often each image occurs in an epoch, on average over the epochs: (n,).

    Args: as `epoch_indices`.
    """
    counts = np.zeros(len(labels))
    for members, size in _chosen(labels, strategy, random_state):
        counts[members] = size / len(members)
    return counts


def _chosen(
    labels: np.ndarray, strategy: Strategy, random_state: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields the distinct images of each side, the same in all epochs, and its size."""
    for label, size in zip(_NEGATIVE_AND_POSITIVE, side_sizes(labels, strategy), strict=True):
        members = np.flatnonzero(labels == label)
        if size < len(members):
            members = np.random.default_rng(random_state).choice(members, size, replace=False)
        yield members, size


def _sides(
    labels: np.ndarray, strategy: Strategy, random_state: int, order: np.random.Generator
) -> list[np.ndarray]:
    """Returns the images of each side, in the order of the epoch."""
    return [
        _repeated(members, size, order) for members, size in _chosen(labels, strategy, random_state)
    ]


def epoch_indices(
    labels: np.ndarray, *, strategy: Strategy, random_state: int, epoch: int
) -> tf.data.Dataset:
    """Returns the images of one epoch, as int64 scalars that index `labels`.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: see above.
      random_state: seed of the choice and of the order.
      epoch: number of the epoch, from 0.
    """
    order = np.random.default_rng([random_state, epoch])
    sides = _sides(labels, strategy, random_state, order)
    sizes = [len(side) for side in sides]
    mixed = tf.data.Dataset.sample_from_datasets(
        [tf.data.Dataset.from_tensor_slices(side) for side in sides],
        weights=[size / sum(sizes) for size in sizes],
        seed=int(order.integers(2**31)),
        stop_on_empty_dataset=False,
    )
    return mixed.apply(tf.data.experimental.assert_cardinality(sum(sizes)))


def _repeated(members: np.ndarray, size: int, order: np.random.Generator) -> np.ndarray:
    """Returns `size` of `members`, shuffled; each is repeated only after all were taken."""
    rounds = -(-size // len(members))
    return np.concatenate([order.permutation(members) for _ in range(rounds)])[:size]


def loss_weights(
    labels: np.ndarray,
    *,
    strategy: Strategy,
    class_weight: Literal["balanced"] | ClassWeight | None,
) -> dict[int, float] | None:
    """Returns the weight of each label in the loss, or None if they are equal.

    `balanced` is n / (2 * n_side), scikit-learn's formula, over the images of an epoch: with
    a strategy that already balances the sides it is 1 for both.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: the sampling strategy.
      class_weight: None, `balanced`, or the weight of each side.
    """
    if class_weight is None:
        return None
    if class_weight == "balanced":
        sizes = side_sizes(labels, strategy)
        return {side: sum(sizes) / (2 * sizes[side]) for side in _NEGATIVE_AND_POSITIVE}
    return {
        names.NEGATIVE_LABEL: class_weight.negative,
        names.POSITIVE_LABEL: class_weight.positive,
    }


def training_loss(labels: np.ndarray, settings: TrainerSettings) -> Loss:
    """Returns the loss of a training, which may depend on the numbers of images of an epoch.

    Args:
      labels: int64 (n,) of 0 and 1, those of the train split.
      settings: the trainer's settings.
    """
    negatives, positives = side_sizes(labels, settings.sampling_strategy)
    return losses.of_settings(settings, positives=positives, negatives=negatives)


def epoch_weights(
    labels: np.ndarray, settings: TrainerSettings, *, done: int
) -> dict[int, float] | None:
    """Returns the weight of each label in the loss of an epoch, or None if they are equal.

    They are those of `loss_weights`, or those of deferred re-weighting, see `Ldam`.

    Args:
      labels: int64 (n,) of 0 and 1, those of the train split.
      settings: the trainer's settings.
      done: number of epochs before this one.
    """
    strategy, class_weight = settings.sampling_strategy, settings.class_weight
    deferred = methods.ldam_of(settings)
    if deferred and deferred.reweights(done, epochs=settings.epochs):
        negatives, positives = side_sizes(labels, strategy)
        class_weight = losses.deferred_weights(positives, negatives, beta=deferred.beta)
    return loss_weights(labels, strategy=strategy, class_weight=class_weight)


def final_weights(labels: np.ndarray, settings: TrainerSettings) -> dict[int, float] | None:
    """Returns the weight of each label in the loss at the end of a training, as `epoch_weights`.

    A solved head has no epochs before its end.

    Args: as `training_loss`.
    """
    done = settings.epochs if settings.solves_head else settings.epochs - 1
    return epoch_weights(labels, settings, done=done)


def training_balance(labels: np.ndarray, settings: TrainerSettings) -> TrainingBalance:
    """Returns the balance that the loss of the last epoch has, for the Calibrator.

    Logit adjustment changes the odds of the scores as a weight of the positive images would, and
    is recorded as that weight. Margins, label smoothing and mixup have no closed form here: what
    they change in addition to the balance is left to the Calibrator's map.

    Args:
      labels: int64 (n,) of 0 and 1, those of the train split.
      settings: the trainer's settings.
    """
    strategy: Strategy = methods.BALANCED if settings.bagging else settings.sampling_strategy
    negatives, positives = side_sizes(labels, strategy)
    weights = final_weights(labels, settings) or {}
    if adjusted := methods.adjustment(settings):
        weights = {names.POSITIVE_LABEL: (negatives / positives) ** adjusted}
    return TrainingBalance(
        positive_images=positives,
        negative_images=negatives,
        positive_weight=weights.get(names.POSITIVE_LABEL, 1.0),
        negative_weight=weights.get(names.NEGATIVE_LABEL, 1.0),
        focal_gamma=FOCAL_GAMMA if settings.loss == methods.FOCAL else 0.0,
    )
