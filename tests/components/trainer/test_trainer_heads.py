import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.features import Rows
from components.trainer.heads import HeadStack, stack_size
from components.trainer.losses import CrossEntropy, Focal, Loss, Smoothed
from components.trainer.models import build_head
from components.trainer.settings import POOLED_HEAD_C

IMAGES = 44
BATCH = 8
SEEDS = (3, 4, 5)
# The last has a kernel in two blocks, of 1201 and 1200 rows.
SHAPES = {"pooled": (12,), "flatten": (2, 2, 3), "flatten, large": (7, 7, 49)}
SIZES = {head: int(np.prod(shape)) for head, shape in SHAPES.items()}


def _rows(head: str) -> Rows:
    rng = np.random.default_rng(0)
    labels = (np.arange(IMAGES) % 4 == 0).astype(np.int64)
    values = rng.normal(size=(IMAGES, *SHAPES[head])) + labels.reshape(-1, *[1] * len(SHAPES[head]))
    # Adam's steps have the same size in each dimension, so in many dimensions they overshoot.
    scale = SIZES["flatten"] / SIZES[head]
    return Rows((values * scale).astype(np.float16), labels)


def _orders(seeds) -> np.ndarray:
    return np.stack([np.random.default_rng(seed).permutation(IMAGES) for seed in seeds])


@pytest.fixture(params=SHAPES)
def head(request) -> str:
    return request.param


@pytest.fixture
def make_head(make_settings, head):
    """A head as Keras builds it, by seed."""

    def make(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        settings = make_settings(model="xception", image_size=71, head=head.split(",")[0])
        return build_head(settings, SHAPES[head], epoch_images=IMAGES)

    return make


def _stack(models, head: str, *, loss: Loss | None = None) -> HeadStack:
    penalty = 1 / (2 * POOLED_HEAD_C * IMAGES) if head == "pooled" else 0.0
    return HeadStack(
        [model.get_weights() for model in models], loss=loss or CrossEntropy(), penalty=penalty
    )


def _run(stack: HeadStack, rows: Rows, seeds, *, rates=None, loss_weights=None, epochs: int = 3):
    weights = np.ones(IMAGES, np.float32) if loss_weights is None else loss_weights
    for _ in range(epochs):
        outputs = stack.run_epoch(
            rows,
            _orders(seeds),
            batch_size=BATCH,
            loss_weights=weights,
            rates=rates or [0.01] * len(seeds),
        )
    return outputs


def test_stacked_heads_give_the_same_result_as_each_alone(make_head, head):
    rows = _rows(head)
    together = _stack([make_head(seed) for seed in SEEDS], head)
    rates = [0.01, 0.003, 0.02]
    probabilities, losses = _run(together, rows, SEEDS, rates=rates)
    for index, seed in enumerate(SEEDS):
        alone = _stack([make_head(seed)], head)
        own_probabilities, own_losses = _run(alone, rows, [seed], rates=[rates[index]])
        np.testing.assert_allclose(probabilities[index], own_probabilities[0], atol=1e-5)
        np.testing.assert_allclose(losses[index], own_losses[0], atol=1e-5)
        np.testing.assert_allclose(together.logits(rows)[index], alone.logits(rows)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "keras_loss"),
    [
        (CrossEntropy(), keras.losses.BinaryCrossentropy()),
        (Focal(), keras.losses.BinaryFocalCrossentropy()),
        (Smoothed(CrossEntropy(), 0.2), keras.losses.BinaryCrossentropy(label_smoothing=0.2)),
    ],
)
def test_a_stack_trains_like_keras(make_head, head, loss, keras_loss):
    rows = _rows(head)
    models = [make_head(seed) for seed in SEEDS[:2]]
    stack = _stack(models, head, loss=loss)
    side_weights = {0: 0.5, 1: 3.0}
    loss_weights = np.array([side_weights[label] for label in rows.labels], np.float32)
    _, losses = _run(stack, rows, SEEDS[:2], loss_weights=loss_weights)
    for index, model in enumerate(models):
        model.compile(keras.optimizers.Adam(0.01), keras_loss)
        order = _orders(SEEDS[:2])[index]
        for _ in range(3):
            fitted = model.fit(
                rows.values[order].astype(np.float32),
                rows.labels[order, None].astype(np.float32),
                batch_size=BATCH,
                shuffle=False,
                class_weight=side_weights,
                verbose=0,
            )
        assert losses[index].mean() == pytest.approx(fitted.history["loss"][0], abs=1e-5)
        expected = model.predict(rows.values.astype(np.float32), verbose=0)[:, 0]
        found = tf.sigmoid(stack.logits(rows))[index]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_penalty_equals_keras_s(make_head, head):
    model = make_head(1)
    (penalty,) = _stack([model], head).penalties()
    assert penalty == pytest.approx(float(sum(model.losses)), abs=1e-6)


def test_a_head_that_diverges_does_not_affect_the_others(make_head, head):
    rows = _rows(head)
    both = _stack([make_head(1), make_head(2)], head)
    _run(both, rows, [1, 2], rates=[float("inf"), 0.01])
    alone = _stack([make_head(2)], head)
    _run(alone, rows, [2])
    logits = both.logits(rows)
    assert not np.isfinite(logits[0]).any()
    np.testing.assert_allclose(logits[1], alone.logits(rows)[0], atol=1e-4)


def test_weights_can_be_read_and_set(make_head, head):
    models = [make_head(1), make_head(2)]
    stack = _stack(models, head)
    first = stack.get_weights(0)
    for found, expected in zip(first, models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    stack.set_weights(1, first)
    logits = stack.logits(_rows(head))
    np.testing.assert_array_equal(logits[0], logits[1])


def test_small_heads_are_stacked_and_large_ones_are_not():
    assert stack_size(2049) >= 10
    assert stack_size(16_778_241) == 1
