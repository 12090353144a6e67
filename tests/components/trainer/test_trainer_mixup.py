import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from components.trainer import mixup
from components.trainer.features import Rows
from components.trainer.heads import HeadStack
from components.trainer.losses import CrossEntropy
from components.trainer.replicates import ArmRows, train_heads

IMAGES, BATCH = 44, 8


def _draw(images: int = IMAGES, *, alpha: float = 0.4, random_state: int = 1, epoch: int = 0):
    return mixup.draw(images, batch_size=BATCH, alpha=alpha, random_state=random_state, epoch=epoch)


def _rows(seed: int = 0) -> Rows:
    labels = (np.arange(IMAGES) % 4 == 0).astype(np.int64)
    values = np.random.default_rng(seed).normal(labels[:, None], size=(IMAGES, 6))
    return Rows(values.astype(np.float16), labels)


def test_images_are_mixed_with_those_of_their_batch_each_once():
    partners = _draw().partners
    for start in range(0, IMAGES, BATCH):
        batch = list(range(start, min(IMAGES, start + BATCH)))
        assert sorted(partners[start : start + BATCH]) == batch


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_shares_of_the_batches_have_a_beta_distribution(alpha):
    shares = _draw(BATCH * 2000, alpha=alpha).shares.reshape(-1, BATCH)
    assert (shares == shares[:, :1]).all()
    assert stats.kstest(shares[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_draws_depend_on_seed_and_epoch_only():
    first = _draw(epoch=3)
    for other, same in ((_draw(epoch=3), True), (_draw(), False), (_draw(random_state=2), False)):
        assert np.array_equal(other.partners, first.partners) is same
        assert np.array_equal(other.shares, first.shares) is same


def test_mixing_keeps_the_share_of_positives():
    mixing = _draw()
    labels = np.random.default_rng(0).integers(0, 2, IMAGES)
    found = mixup.mixed(labels, labels[mixing.partners], mixing.shares)
    assert found.sum() == pytest.approx(labels.sum(), rel=1e-6)


def test_batches_of_a_network_are_mixed_as_those_of_heads():
    mixing, rows = _draw(), _rows()
    values, labels = rows.values.astype(np.float32), rows.labels[:, None].astype(np.float32)
    batches = tf.data.Dataset.from_tensor_slices((values, labels)).batch(BATCH)
    found = list(mixup.mix_batches(batches, mixing, batch_size=BATCH).as_numpy_iterator())
    for index, whole in enumerate((values, labels)):
        expected = mixup.mixed(whole, whole[mixing.partners], mixing.shares)
        np.testing.assert_allclose(
            np.concatenate([batch[index] for batch in found]), expected, atol=1e-6
        )


def test_a_stack_trains_on_mixed_images_like_keras():
    """Zhang et al., eq. 1: means of inputs and of labels, with the same weights."""
    rows, seeds = _rows(), (3, 4)
    models, orders, mixings = [], [], []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        models.append(
            keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, activation="sigmoid")])
        )
        orders.append(np.random.default_rng(seed).permutation(IMAGES))
        mixings.append(_draw(random_state=seed))
    stack = HeadStack([model.get_weights() for model in models], loss=CrossEntropy())
    stack.run_epoch(
        rows,
        np.stack(orders),
        batch_size=BATCH,
        loss_weights=np.ones(IMAGES, np.float32),
        rates=[0.01] * 2,
        mixings=mixings,
    )
    for index, model in enumerate(models):
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        values, labels = rows.values[orders[index]].astype(float), rows.labels[orders[index]]
        shares, partners = mixings[index].shares, mixings[index].partners
        inputs = shares[:, None] * values + (1 - shares)[:, None] * values[partners]
        targets = shares * labels + (1 - shares) * labels[partners]
        model.fit(inputs, targets[:, None], batch_size=BATCH, shuffle=False, verbose=0)
        for found, expected in zip(stack.get_weights(index), model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_mixed_image_is_counted_for_the_side_of_its_larger_share(make_settings):
    settings = make_settings(model="xception", image_size=71, mixup=0.2, batch_size=BATCH)
    rows = ArmRows(train=_rows(), val="val", evaluated={"val": _rows(1)})
    ((replicate,),) = train_heads(settings, [1], rows, on_epoch=lambda epoch: None)
    counts = [replicate.epochs[0][name] for name in ("tp", "fp", "tn", "fn")]
    assert sum(counts) == IMAGES
    # All images of a batch keep their own side, or all have their partner's.
    assert replicate.epochs[0]["tp"] + replicate.epochs[0]["fn"] == _rows().labels.sum()


def test_a_whole_network_is_trained_on_mixed_pixels(run_trainer):
    import json

    epochs = [
        json.loads((run_trainer(name, **changes)[1] / "history.json").read_text())["epochs"]
        for name, changes in (("plain", {}), ("mixed", {"mixup": 1.0}), ("again", {"mixup": 1.0}))
    ]
    plain, mixed, again = (each[-1] for each in epochs)
    assert mixed["val_loss"] == again["val_loss"] != plain["val_loss"]
    assert (mixed["tp"] + mixed["fn"], mixed["tn"] + mixed["fp"]) == (4, 12)
