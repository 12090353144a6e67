"""The notebook's method as a plain Keras script: one epoch per arm of the preset `training`.

    python -m benchmarks.notebook PHOTOS --scale 0.5 [--head pooled] [--weights PATH]

The frozen network's forward pass runs on every image in every epoch, in batches of 16, as when
a whole model is trained. PHOTOS has one folder per class. The last line is JSON, seconds by
arm: `epoch`, one pass over train and val after a warm-up of two steps, and `test`, one pass over
the test split.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import tensorflow as tf

from pipeline.study.settings import Arm, StudySettings, load_study

_WARM_UP_STEPS = 2


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--head", choices=["flatten", "pooled"], default="flatten")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    study = load_study("training", None, scale=options.scale)
    weights = None if options.weights == "none" else options.weights
    seconds = {}
    for arm in study.arms:
        model = build(study.trainer.image_size, weights, head=options.head)
        seconds[arm.name] = measure(model, study, arm, options.photos)
        keras.backend.clear_session()
    print(json.dumps(seconds))


def build(size: int, weights: str | None, *, head: str) -> keras.Model:
    """Returns the frozen Xception with a head."""
    pooling = "avg" if head == "pooled" else None
    body = keras.applications.Xception(
        weights=weights, include_top=False, input_shape=(size, size, 3), pooling=pooling
    )
    body.trainable = False
    layers = [keras.Input((size, size, 3)), body]
    if head == "flatten":
        layers += [keras.layers.Flatten(), keras.layers.Dense(512, activation="relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    metrics = [
        keras.metrics.TruePositives(name="tp"),
        keras.metrics.FalsePositives(name="fp"),
        keras.metrics.TrueNegatives(name="tn"),
        keras.metrics.FalseNegatives(name="fn"),
        keras.metrics.BinaryAccuracy(name="accuracy"),
        keras.metrics.Precision(name="precision"),
        keras.metrics.Recall(name="recall"),
    ]
    model.compile("adam", "binary_crossentropy", metrics=metrics)
    return model


def measure(model: keras.Model, study: StudySettings, arm: Arm, photos: Path) -> dict[str, float]:
    """Measures the seconds of one epoch and of one pass over the test split."""
    settings = study.trainer_of(arm)
    splits = study.sampler.splits
    train = images(
        photos,
        splits[arm.train],
        study,
        oversample=settings.sampling_strategy == "oversample",
    )
    val = images(photos, splits[arm.val], study)
    weights = settings.class_weight
    class_weight = (
        {0: weights.negative, 1: weights.positive}
        if weights is not None and not isinstance(weights, str)
        else None
    )
    model.fit(train.take(_WARM_UP_STEPS), validation_data=val.take(1), verbose=0)
    started = time.perf_counter()
    model.fit(train, validation_data=val, class_weight=class_weight, verbose=0)
    epoch = time.perf_counter() - started
    started = time.perf_counter()
    model.evaluate(images(photos, splits[arm.test[0]], study), verbose=0)
    return {"epoch": round(epoch, 2), "test": round(time.perf_counter() - started, 2)}


def images(
    photos: Path, counts: dict[str, int], study: StudySettings, *, oversample: bool = False
) -> tf.data.Dataset:
    """Returns batches of resized images and labels, with the classes evenly interleaved."""
    trainer = study.trainer
    size = (trainer.image_size,) * 2

    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, size) / 255.0, label

    sides, sizes = [], []
    largest = max(counts.values())
    for name, count in counts.items():
        files = sorted(str(path) for path in (photos / name).iterdir())[:count]
        label = float(name == study.data.positive_class)
        side = tf.data.Dataset.from_tensor_slices((files, [label] * len(files))).shuffle(4096)
        size_of_side = largest if oversample else count
        sides.append(side.repeat().take(size_of_side))
        sizes.append(size_of_side)
    mixed = tf.data.Dataset.sample_from_datasets(
        sides, [size / sum(sizes) for size in sizes], stop_on_empty_dataset=False
    )
    return (
        mixed.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(trainer.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )


if __name__ == "__main__":
    main()
