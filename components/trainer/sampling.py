"""What an epoch is made of: which images, how often, in which order, and with what weight.

Which images the train split holds is decided before, by `components.imbalance_sampler`. A new
strategy is a case of `_side_sizes` here and a value of `settings.Strategy`.

Strategies, in the words of imbalanced-learn:

- `representative`: every image once, the split's own balance.
- `balanced`, also called `undersample`: the larger side is undersampled to the size of the
  smaller, by a choice that the seed makes once and that holds for all epochs.
- `oversample`: every image of the larger side once, those of the smaller repeated until
  both sides are as many; no two of them differ by more than one repetition.
- a `Mixture` of undersample u and oversample o: first the larger side is undersampled
  until the smaller is `u` times as many, then the smaller is repeated until it is `o` times
  as many. A ratio that is reached already changes nothing; either may be left out.

In each, the sides are interleaved evenly, and each epoch has an order of its own, a
function of seed and epoch, so training that resumes at epoch k sees what it would have.
tf.data mixes TensorFlow's global seed into the interleaving: `run_fn` sets that one too.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from components import names
from components.trainer.settings import ClassWeight, Mixture, Strategy

_NEGATIVE_AND_POSITIVE = (names.NEGATIVE_LABEL, names.POSITIVE_LABEL)


def epoch_size(labels: np.ndarray, strategy: Strategy) -> int:
    """How many images an epoch has, repetitions counted."""
    return sum(_side_sizes(labels, strategy))


def _side_sizes(labels: np.ndarray, strategy: Strategy) -> list[int]:
    """Images an epoch of the negative and of the positive side."""
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
    raise ValueError(
        "sampling_strategy must be 'representative', 'balanced', 'undersample', 'oversample' or "
        f"a mixture. Received: {strategy!r}"
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
    """The images of one epoch as int64 (n,), for who has all rows at hand.

    They are those of `epoch_indices`, mixed by the same rule: each next image is of a side
    drawn with the sides' shares until one side has run out. tf.data takes a tenth of a second
    for an order; the small heads that train on features are done with the epoch in that time.

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


def _sides(
    labels: np.ndarray, strategy: Strategy, random_state: int, order: np.random.Generator
) -> list[np.ndarray]:
    """The images of each side, in the order in which an epoch takes them."""
    sides = []
    for label, size in zip(_NEGATIVE_AND_POSITIVE, _side_sizes(labels, strategy), strict=True):
        members = np.flatnonzero(labels == label)
        if size < len(members):
            members = np.random.default_rng(random_state).choice(members, size, replace=False)
        sides.append(_repeated(members, size, order))
    return sides


def epoch_indices(
    labels: np.ndarray, *, strategy: Strategy, random_state: int, epoch: int
) -> tf.data.Dataset:
    """The images of one epoch, as int64 scalars that index `labels`.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: see above.
      random_state: seed of the choice and of the order.
      epoch: which pass, from 0.
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
    """`size` of `members`, all of them in a new order before any is repeated."""
    rounds = -(-size // len(members))
    return np.concatenate([order.permutation(members) for _ in range(rounds)])[:size]


def loss_weights(
    labels: np.ndarray,
    *,
    strategy: Strategy,
    class_weight: Literal["balanced"] | ClassWeight | None,
) -> dict[int, float] | None:
    """The weight of each label in the loss, or None where all weigh the same.

    `balanced` is n / (2 * n_side), scikit-learn's formula, over the images of an epoch: on
    a strategy that has already evened the sides it is 1 for both.

    Args:
      labels: int64 (n,) of 0 and 1.
      strategy: what an epoch is made of.
      class_weight: None, `balanced`, or the weight of each side.
    """
    if class_weight is None:
        return None
    if class_weight == "balanced":
        sizes = _side_sizes(labels, strategy)
        return {side: sum(sizes) / (2 * sizes[side]) for side in _NEGATIVE_AND_POSITIVE}
    return {
        names.NEGATIVE_LABEL: class_weight.negative,
        names.POSITIVE_LABEL: class_weight.positive,
    }
