import numpy as np
import tensorflow as tf

from components.trainer.augmentation import augment, augment_batches

SEED = tf.constant([1, 2], tf.int64)


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 12, 12, 3)).astype(np.float32)


def test_a_flat_image_does_not_change():
    images = np.full((6, 12, 12, 3), 0.25, np.float32)
    np.testing.assert_allclose(augment(images, seed=SEED), images, atol=1e-6)


def test_about_half_of_the_images_are_mirrored():
    # Brightness grows to the right, so a mirrored image grows to the left.
    ramp = np.tile(np.linspace(0, 1, 12, dtype=np.float32)[None, None, :, None], (400, 12, 1, 3))
    images = augment(ramp, seed=SEED).numpy()
    mirrored = images[:, 6, 0, 0] > images[:, 6, -1, 0]
    assert 0.4 < mirrored.mean() < 0.6


def test_at_most_a_fifth_of_a_side_is_cropped():
    ramp = np.tile(np.linspace(0, 1, 12, dtype=np.float32)[None, None, :, None], (400, 12, 1, 3))
    images = augment(ramp, seed=SEED).numpy()
    kept = np.abs(images[:, 6, -1, 0] - images[:, 6, 0, 0])
    assert kept.min() >= 0.8 - 1e-5
    assert kept.max() <= 1 + 1e-5


def test_the_same_seed_and_epoch_give_the_same_images_and_others_do_not():
    batches = tf.data.Dataset.from_tensors((_images(3), np.zeros((3, 1), np.float32))).repeat(2)

    def run(**arguments) -> np.ndarray:
        return np.stack([images for images, _ in augment_batches(batches, **arguments)])

    first = run(random_state=1, epoch=0)
    np.testing.assert_array_equal(run(random_state=1, epoch=0), first)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(run(random_state=1, epoch=1), first)
    assert not np.array_equal(run(random_state=2, epoch=0), first)
