"""Trains many heads on the same frozen features together.

A head on features is a small network, whose training time is mostly the overhead of many small
operations, so its replicates are stacked and each operation computes all of them. A head of tens
of megabytes is limited by memory bandwidth, since each step reads all weights, and stacking is no
faster (see `stack_size`). Such a head is stored in blocks of rows instead: the optimizer updates a
block while its gradient is still in the cache.

Each replicate has its own weights, order of images and learning rate, so its result is the same
as if it were trained alone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from components.trainer.features import Rows
from components.trainer.losses import Loss
from components.trainer.mixup import Mixing, mixed

_STACK_BYTES = 16 * 2**20
_MAX_STACK = 16
_BLOCK_BYTES = 4 * 2**20
_PREDICT_BATCH = 256
# The defaults of keras.optimizers.Adam.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7

Weights = list[np.ndarray]
"""Kernel and bias of each layer in order, as Keras's `get_weights` returns them."""

Blocks = list[tf.Variable]
"""An array, split into blocks of consecutive rows."""


def stack_size(parameters: int) -> int:
    """Returns how many heads of this many parameters to train together; 1 if that isn't faster."""
    return max(1, min(_MAX_STACK, _STACK_BYTES // (4 * parameters)))


class HeadStack:
    """Heads of the same architecture: dense layers with relu between them, and a final sigmoid."""

    def __init__(self, weights: Sequence[Weights], *, loss: Loss, penalty: float = 0.0):
        """Creates the heads.

        Args:
          weights: initial weights of each of r replicates.
          loss: the loss of each image.
          penalty: factor of the sum of squares of the last kernel in the loss.
        """
        self._weights = [[_blocks(array) for array in arrays] for arrays in weights]
        self._moments = [
            [
                (tf.Variable(tf.zeros_like(block)), tf.Variable(tf.zeros_like(block)))
                for block in _variables([head])
            ]
            for head in self._weights
        ]
        self._steps = tf.Variable(0.0)
        self._loss = loss
        self._penalty = penalty

    def get_weights(self, replicate: int) -> Weights:
        """Returns a copy of one head's weights."""
        return [
            np.concatenate([block.numpy() for block in blocks])
            for blocks in self._weights[replicate]
        ]

    def set_weights(self, replicate: int, weights: Weights) -> None:
        """Replaces one head's weights; the optimizer's state does not change."""
        for blocks, array in zip(self._weights[replicate], weights, strict=True):
            for block, rows in zip(blocks, np.array_split(array, len(blocks)), strict=True):
                block.assign(rows)

    def penalties(self) -> np.ndarray:
        """Returns the penalty on the squared weights in each head's loss: float32 (r,)."""
        return np.array([float(self._penalty_of(head)) for head in self._weights], np.float32)

    def run_epoch(
        self,
        rows: Rows,
        orders: np.ndarray,
        *,
        batch_size: int,
        loss_weights: np.ndarray,
        rates: Sequence[float],
        mixings: Sequence[Mixing] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Trains for one epoch with Adam.

        Args:
          rows: the training data.
          orders: int64 (r, n), indices of the epoch's images for each replicate.
          batch_size: images per step; the last step may have fewer.
          loss_weights: float32 (m,), the weight in the loss of each of the rows' m images.
          rates: learning rate of each replicate.
          mixings: what the images of each replicate are mixed with; empty without mixup.

        Returns:
          float32 (r, n) each: the probability of each image before the step that trains on it,
          and its loss, including weight and penalty.
        """
        batches = _batches(rows, orders, loss_weights, batch_size=batch_size, mixings=mixings)
        probabilities, losses = self._run(batches, tf.constant(rates, tf.float32))
        return probabilities.numpy().T, losses.numpy().T

    @tf.function(reduce_retracing=True)
    def _run(self, batches: tf.data.Dataset, rates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False)
        losses = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False)
        for step, (values, labels, loss_weights) in batches.enumerate():
            logits, loss = self._step(values, labels, loss_weights, rates)
            index = tf.cast(step, tf.int32)
            probabilities = probabilities.write(index, tf.transpose(tf.sigmoid(logits)))
            losses = losses.write(index, tf.transpose(loss))
        return probabilities.concat(), losses.concat()

    def _step(
        self, values: tf.Tensor, labels: tf.Tensor, loss_weights: tf.Tensor, rates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        variables = _variables(self._weights)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = self._logits(values)
            penalties = tf.stack([self._penalty_of(head) for head in self._weights])
            losses = loss_weights * self._loss(labels, logits) + penalties[:, None]
            # The heads share no variables, so the sum has the gradient of each head.
            total = tf.reduce_sum(tf.reduce_mean(losses, axis=1))
        self._update(tape.gradient(total, variables), rates)
        return logits, losses

    def _penalty_of(self, head: Sequence[Blocks]) -> tf.Tensor:
        if not self._penalty:
            return 0.0
        # The kernel of the last layer.
        return self._penalty * tf.add_n([tf.reduce_sum(tf.square(block)) for block in head[-2]])

    def _logits(self, values: tf.Tensor) -> tf.Tensor:
        """Returns logits (r, b) of images (r, b, d), which differ between replicates."""
        layers = list(zip(*self._weights, strict=True))
        hidden = values
        for index in range(0, len(layers), 2):
            if index:
                hidden = tf.nn.relu(hidden)
            biases = tf.stack([block for (block,) in layers[index + 1]])
            hidden = _product(hidden, layers[index]) + biases[:, None]
        return hidden[..., 0]

    def _update(self, gradients: Sequence[tf.Tensor], rates: tf.Tensor) -> None:
        self._steps.assign_add(1.0)
        powers = tf.pow(_BETA_1, self._steps), tf.pow(_BETA_2, self._steps)
        remaining = iter(gradients)
        for replicate, head in enumerate(self._weights):
            for variable, moments in zip(_variables([head]), self._moments[replicate], strict=True):
                _adam(variable, moments, next(remaining), powers, rates[replicate])

    def logits(self, rows: Rows) -> np.ndarray:
        """Returns the logits of all rows for each head: float32 (r, m)."""
        return np.concatenate([self._logits_of_shared(part) for part in _parts(rows)], axis=1)

    @tf.function(reduce_retracing=True)
    def _logits_of_shared(self, values: tf.Tensor) -> tf.Tensor:
        shared = tf.cast(values, tf.float32)[None]
        repeated = tf.repeat(shared, len(self._weights), axis=0)
        return self._logits(repeated)


def _blocks(array: np.ndarray) -> Blocks:
    count = -(-array.nbytes // _BLOCK_BYTES)
    return [tf.Variable(rows) for rows in np.array_split(array, count)]


def _variables(weights: Sequence[Sequence[Blocks]]) -> list[tf.Variable]:
    return [block for head in weights for blocks in head for block in blocks]


def _product(values: tf.Tensor, kernels: Sequence[Blocks]) -> tf.Tensor:
    """Returns values (r, b, d) times each replicate's kernel (d, h): (r, b, h)."""
    blocks = list(zip(*kernels, strict=True))
    parts = tf.split(values, [stack[0].shape[0] for stack in blocks], axis=-1)
    return tf.add_n([_block_product(*pair) for pair in zip(parts, blocks, strict=True)])


def _block_product(values: tf.Tensor, kernels: Sequence[tf.Variable]) -> tf.Tensor:
    if len(kernels) == 1:
        # A stack of one would copy all weights at each step, and a batched product is
        # parallelized over matrices, of which there is one.
        return tf.matmul(values[0], kernels[0])[None]
    return tf.matmul(values, tf.stack(kernels))


def _adam(
    variable: tf.Variable,
    moments: tuple[tf.Variable, tf.Variable],
    gradient: tf.Tensor,
    powers: tuple[tf.Tensor, tf.Tensor],
    rate: tf.Tensor,
) -> None:
    """Applies Keras's Adam in one kernel, which reads the weights once instead of ten times."""
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=moments[0].handle,
        v=moments[1].handle,
        beta1_power=powers[0],
        beta2_power=powers[1],
        lr=rate,
        beta1=_BETA_1,
        beta2=_BETA_2,
        epsilon=_EPSILON,
        grad=gradient,
    )


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _parts(rows: Rows) -> Iterator[np.ndarray]:
    values = _flat(rows.values)
    for first in range(0, len(values), _PREDICT_BATCH):
        yield np.ascontiguousarray(values[first : first + _PREDICT_BATCH])


def _batches(
    rows: Rows,
    orders: np.ndarray,
    loss_weights: np.ndarray,
    *,
    batch_size: int,
    mixings: Sequence[Mixing],
) -> tf.data.Dataset:
    """Returns an epoch's steps: values (r, b, d), labels and loss weights (r, b), all float32."""
    values = _flat(rows.values)
    labels = rows.labels.astype(np.float32)

    def take(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = chosen.T
        return values[chosen].astype(np.float32), labels[chosen], loss_weights[chosen]

    def take_mixed(
        chosen: np.ndarray, others: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, labels, weights = (
            mixed(*pair, shares.T) for pair in zip(take(chosen), take(others), strict=True)
        )
        return values, labels, weights

    def gather(*steps: tf.Tensor) -> tuple[tf.Tensor, ...]:
        function = take_mixed if mixings else take
        parts = tf.numpy_function(function, steps, [tf.float32] * 3, stateful=False)
        for part, width in zip(parts, [values.shape[1:], (), ()], strict=True):
            part.set_shape((len(orders), None, *width))
        return tuple(parts)

    # In the transposed orders the images of a step are consecutive.
    whole = [orders.T]
    if mixings:
        others = [order[each.partners] for order, each in zip(orders, mixings, strict=True)]
        whole += [np.stack(others, axis=1), np.stack([each.shares for each in mixings], axis=1)]
    steps = tf.data.Dataset.from_tensor_slices(tuple(whole)).batch(batch_size)
    return steps.map(gather, num_parallel_calls=2, deterministic=True).prefetch(4)
