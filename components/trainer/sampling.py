"""What an epoch is made of: which images, how often, in which order, and with what weight.

Strategies, in the words of imbalanced-learn:

- `representative`: every image once, the split's own balance.
- `balanced`: the larger side is undersampled to the size of the smaller, by a choice that
  the seed makes once and that holds for all epochs.
- `oversample`: every image of the larger side once, those of the smaller repeated until
  both sides are as many; no two of them differ by more than one repetition.

In each, the sides are interleaved evenly, and each epoch has an order of its own, a
function of seed and epoch, so training that resumes at epoch k sees what it would have.
tf.data mixes TensorFlow's global seed into the interleaving: `run_fn` sets that one too.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from components import names

_NEGATIVE_AND_POSITIVE = (names.NEGATIVE_LABEL, names.POSITIVE_LABEL)


def epoch_size(labels: np.ndarray, strategy: str) -> int:
    """How many images an epoch has, repetitions counted."""
    return sum(_side_sizes(labels, strategy))


def _side_sizes(labels: np.ndarray, strategy: str) -> list[int]:
    """Images an epoch of the negative and of the positive side."""
    counts = [int(np.sum(labels == side)) for side in _NEGATIVE_AND_POSITIVE]
    match strategy:
        case "representative":
            return counts
        case "balanced":
            return [min(counts)] * 2
        case "oversample":
            return [max(counts)] * 2
    raise ValueError(
        "sampling_strategy must be 'representative', 'balanced' or 'oversample'. "
        f"Received: {strategy!r}"
    )


def epoch_indices(
    labels: np.ndarray, *, strategy: str, random_state: int, epoch: int
) -> tf.data.Dataset:
    """The images of one epoch, as int64 scalars that index `labels`.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: `representative`, `balanced` or `oversample`.
      random_state: seed of the choice and of the order.
      epoch: which pass, from 0.
    """
    sizes = _side_sizes(labels, strategy)
    order = np.random.default_rng([random_state, epoch])
    sides = []
    for label, size in zip(_NEGATIVE_AND_POSITIVE, sizes, strict=True):
        members = np.flatnonzero(labels == label)
        if size < len(members):
            members = np.random.default_rng(random_state).choice(members, size, replace=False)
        sides.append(tf.data.Dataset.from_tensor_slices(_repeated(members, size, order)))
    mixed = tf.data.Dataset.sample_from_datasets(
        sides,
        weights=[size / sum(sizes) for size in sizes],
        seed=int(order.integers(2**31)),
        stop_on_empty_dataset=False,
    )
    return mixed.apply(tf.data.experimental.assert_cardinality(sum(sizes)))


def _repeated(members: np.ndarray, size: int, order: np.random.Generator) -> np.ndarray:
    """`size` of `members`, all of them in a new order before any is repeated."""
    rounds = -(-size // len(members))
    return np.concatenate([order.permutation(members) for _ in range(rounds)])[:size]


def loss_weights(
    labels: np.ndarray, *, strategy: str, class_weight: str | Mapping[str, float] | None
) -> dict[int, float] | None:
    """The weight of each label in the loss, or None where all weigh the same.

    `balanced` is n / (2 * n_side), scikit-learn's formula, over the images of an epoch: on
    a strategy that has already evened the sides it is 1 for both.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: what an epoch is made of.
      class_weight: None, `balanced`, or {"positive": w, "negative": w}.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        sizes = _side_sizes(labels, strategy)
        return {side: sum(sizes) / (2 * sizes[side]) for side in _NEGATIVE_AND_POSITIVE}
    return {
        names.NEGATIVE_LABEL: float(class_weight["negative"]),
        names.POSITIVE_LABEL: float(class_weight["positive"]),
    }
