"""A trained SavedModel and the val split that it is calibrated on."""

import io
from pathlib import Path

import numpy as np
import pytest
from listed import list_files
from PIL import Image

REDNESS = [0.95, 0.85, 0.75, 0.65, 0.35, 0.25, 0.15, 0.05]
LABELS = [1, 1, 0, 1, 0, 0, 0, 0]


def _png(redness: float, size: int) -> bytes:
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[..., 0] = round(255 * redness)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """Uniform images of different sizes; the redder, the more likely positive."""
    return [_png(redness, 10 + index) for index, redness in enumerate(REDNESS)]


@pytest.fixture(scope="session")
def records(images) -> list[bytes]:
    """The images as serialized tf.Examples, with labels."""
    import tensorflow as tf

    def example(index: int, image: bytes, label: int) -> bytes:
        texts = {
            "image": image,
            "image_id": f"id {index}".encode(),
            "uri": f"{index}.png".encode(),
            "class_name": b"red" if label else b"other",
        }
        features = {
            **{
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in texts.items()
            },
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    labelled = zip(images, LABELS, strict=True)
    return [example(index, image, label) for index, (image, label) in enumerate(labelled)]


@pytest.fixture
def write_examples(tmp_path):
    """Writes records as a split of two shards and returns the Examples artifact's folder."""

    def write(records: list[bytes], split: str = "val") -> Path:
        import tensorflow as tf

        from components.example_files import shard_name, split_dir

        folder = Path(split_dir(str(tmp_path / "examples"), split))
        folder.mkdir(parents=True)
        for shard in range(2):
            with tf.io.TFRecordWriter(str(folder / shard_name(shard, 2))) as writer:
                for record in records[shard::2]:
                    writer.write(record)
        list_files(tmp_path / "examples")
        return tmp_path / "examples"

    return write


@pytest.fixture(scope="session")
def trained_model(tmp_path_factory) -> Path:
    """A Trainer's Model artifact whose score is the redness of the image."""
    return _export_redness(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def balanced_model(tmp_path_factory) -> Path:
    """The same, recorded as trained with a balanced focal loss."""
    from components.training_balance import TrainingBalance

    balance = TrainingBalance(positive_images=50, negative_images=50, focal_gamma=2.0)
    return _export_redness(tmp_path_factory.mktemp("balanced"), balance=balance)


@pytest.fixture(scope="session")
def frozen_model(tmp_path_factory) -> Path:
    """The same, which can also be given the mean colors of images."""
    return _export_redness(tmp_path_factory.mktemp("frozen"), with_head=True)


def _export_redness(folder: Path, *, with_head: bool = False, **balance) -> Path:
    import keras

    from components.images.rules import ReadingRules
    from components.trainer.export import export

    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    head.set_weights([np.array([[1.0], [0.0], [0.0]]), np.zeros(1)])
    mean_red = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), head]
    )
    rules = ReadingRules(image_size=8, pixel_range=(0.0, 1.0), max_side=64)
    head = head if with_head else None
    export(mean_red, rules, str(folder / "Format-Serving"), head=head, **balance)
    return folder
