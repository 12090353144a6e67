"""The demo as one plain Keras script, as written without a pipeline.

    python -m benchmarks.plain_keras SAMPLE

Reads the sample's images, splits them with the demo's counts into train, val and test, trains the
simple CNN, chooses the threshold with the best F1 on val, and prints precision, recall and F1 on
test.
"""

import csv
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import precision_recall_curve, precision_recall_fscore_support

from pipeline.settings import Settings, load, preset_path


def main() -> None:
    """Trains and evaluates the model, and prints its figures as JSON."""
    settings = load(preset_path("demo"))
    splits = read_splits(Path(sys.argv[1]), settings)
    model = build_model(settings.trainer.image_size)
    model.compile(
        optimizer=keras.optimizers.Adam(settings.trainer.learning_rate),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(curve="PR")],
    )
    train, val = (dataset(*splits[name], settings) for name in ("train", "val"))
    train = train.cache().shuffle(4096, seed=0)
    batch = settings.trainer.batch_size
    model.fit(
        train.batch(batch),
        validation_data=val.cache().batch(batch),
        epochs=settings.trainer.epochs,
        verbose=0,
    )
    threshold = best_threshold(splits["val"][1], predict(model, *splits["val"], settings))
    labels, scores = splits["test"][1], predict(model, *splits["test"], settings)
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, scores >= threshold, average="binary", zero_division=0
    )
    print(json.dumps({"precision": precision, "recall": recall, "f1": f1}))


Split = tuple[list[str], np.ndarray]


def read_splits(sample: Path, settings: Settings) -> dict[str, Split]:
    """Returns paths and labels of each split, taken from the end of the manifest."""
    with (sample / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    remaining = {name: [r["uri"] for r in rows if r["label"] == name] for name in ("cats", "dogs")}
    splits = {}
    for name, counts in settings.sampler.splits.items():
        paths, labels = [], []
        for label, class_name in enumerate(("cats", "dogs")):
            taken = [remaining[class_name].pop() for _ in range(counts[class_name])]
            paths += [str(sample / uri) for uri in taken]
            labels += [label] * len(taken)
        splits[name] = paths, np.array(labels)
    return splits


def dataset(paths: list[str], labels: np.ndarray, settings: Settings) -> tf.data.Dataset:
    """Returns images in [0, 1] and labels."""
    size = (settings.trainer.image_size,) * 2

    def read(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, size) / 255.0, label

    files = tf.data.Dataset.from_tensor_slices((paths, labels))
    return files.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def build_model(side: int) -> keras.Model:
    """Returns the simple CNN."""
    layers = keras.layers
    conv = {"padding": "same", "activation": "relu", "kernel_initializer": "he_uniform"}
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            layers.Conv2D(32, 3, **conv),
            layers.MaxPooling2D(),
            layers.Dropout(0.15),
            layers.Conv2D(64, 3, **conv),
            layers.MaxPooling2D(),
            layers.Dropout(0.15),
            layers.Conv2D(128, 3, **conv),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", kernel_initializer="he_uniform"),
            layers.Dropout(0.4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def predict(
    model: keras.Model, paths: list[str], labels: np.ndarray, settings: Settings
) -> np.ndarray:
    """Returns probabilities, (n,)."""
    return model.predict(dataset(paths, labels, settings).batch(64), verbose=0)[:, 0]


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the threshold with the best F1."""
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f1[:-1])])


if __name__ == "__main__":
    main()
