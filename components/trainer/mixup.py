"""Mixup: a network is trained on weighted means of two images and of their labels.

The images of a batch are mixed with those of the same batch in another order, all with the same
weight, as in the authors' code. The input of the trained part of the network is mixed: features if
there are any, else pixels. Order and weights are drawn by seed and epoch, so a training that
resumes sees what an uninterrupted one sees.

Source: H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz, mixup: Beyond Empirical Risk Minimization,
ICLR 2018, eq. 1.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

# Distinguishes these draws from those of an epoch's order, which has the same seed.
_STREAM = 1


@dataclass(frozen=True)
class Mixing:
    """What each image of an epoch is mixed with.

    Attributes:
      partners: int64 (n,), the places of the other images in the epoch, in the same batch.
      shares: float32 (n,), the share of the image itself; the rest is its partner's.
    """

    partners: np.ndarray
    shares: np.ndarray


def draw(images: int, *, batch_size: int, alpha: float, random_state: int, epoch: int) -> Mixing:
    """Draws the partners and shares of an epoch.

    Args:
      images: number of images in the epoch.
      batch_size: images per batch; the last may have fewer.
      alpha: both parameters of the beta distribution of the shares, above 0; with 1 all shares are
        equally likely, with less most are near 0 or 1.
      random_state: seed of the training.
      epoch: number of the epoch, from 0.
    """
    generator = np.random.default_rng([random_state, epoch, _STREAM])
    starts = range(0, images, batch_size)
    sizes = [min(batch_size, images - start) for start in starts]
    partners = [
        start + generator.permutation(size) for start, size in zip(starts, sizes, strict=True)
    ]
    shares = generator.beta(alpha, alpha, len(sizes)).astype(np.float32)
    return Mixing(np.concatenate(partners), np.repeat(shares, sizes))


def mixed(values: np.ndarray, others: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns weighted means, float32 of the shape of both; a share has leading indices only."""
    weights = shares.reshape(shares.shape + (1,) * (values.ndim - shares.ndim))
    return (weights * values + (1 - weights) * others).astype(np.float32)


def mix_batches(batches: tf.data.Dataset, mixing: Mixing, *, batch_size: int) -> tf.data.Dataset:
    """Mixes the batches of an epoch.

    Args:
      batches: float32 values (b, ...) and labels (b, 1).
      mixing: of the epoch.
      batch_size: size of all batches except the last.
    """
    within = mixing.partners % batch_size
    drawn = tf.data.Dataset.from_tensor_slices((within, mixing.shares)).batch(batch_size)

    def mix(batch: tuple[tf.Tensor, tf.Tensor], draws: tuple[tf.Tensor, tf.Tensor]) -> tuple:
        places, shares = draws
        return tuple(_mixed(part, tf.gather(part, places), shares) for part in batch)

    return tf.data.Dataset.zip(batches, drawn).map(mix, num_parallel_calls=tf.data.AUTOTUNE)


def _mixed(values: tf.Tensor, others: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    weights = tf.reshape(shares, [-1, *[1] * (len(values.shape) - 1)])
    return weights * values + (1 - weights) * others
