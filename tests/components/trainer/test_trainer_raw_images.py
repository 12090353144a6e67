"""A trained model's predictions for raw files, by each path from file to model."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from pictures_on_disk import PHOTOGRAPHS, encoded, picture, write
from PIL import ExifTags, Image

from components.calibrator import export as calibrated
from components.calibrator import operating_point
from components.calibrator.calibration import calibrate
from components.images.reader import read_image
from components.images.rules import ReadingRules, read_rules
from components.trainer.export import export
from components.trainer.preprocessing import Preprocessing
from pipeline.predict import predict

SIZE = 32


def turned_photograph(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, quality=92, exif=exif)


def photographs(class_name: str, count: int) -> list[bytes]:
    paths = sorted((PHOTOGRAPHS / class_name).glob("*.jpg"))[:count]
    return [path.read_bytes() for path in paths]


@pytest.fixture(scope="module")
def training_data() -> tuple[list[bytes], np.ndarray]:
    """Photographs of cats and dogs if they exist; else light and dark blotches."""
    if PHOTOGRAPHS.is_dir():
        cats, dogs = photographs("cats", 60), photographs("dogs", 60)
    else:
        cats = [encoded(picture(seed, size=(120, 90))) for seed in range(60)]
        dogs = [
            encoded(Image.eval(picture(seed, size=(120, 90)), lambda v: v // 3))
            for seed in range(60)
        ]
    return cats + dogs, np.repeat([0.0, 1.0], 60)


def small_network() -> keras.Model:
    """Two convolutions without regularisation, which overfit a few images."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module", params=[0, 40])
def model(request, training_data, tmp_path_factory) -> Path:
    """A calibrated SavedModel of a network, trained until its probabilities differ."""
    rules = ReadingRules(image_size=SIZE, pixel_range=(0.0, 1.0), max_side=request.param)
    images, labels = training_data
    stored = [read_image(data, max_side=rules.max_side).data for data in images]
    pixels = Preprocessing(SIZE, rules.pixel_range).batch(tf.constant(stored))
    keras.utils.set_random_seed(1)
    network = small_network()
    network.compile(keras.optimizers.Adam(0.003), "binary_crossentropy")
    network.fit(pixels, labels, epochs=20, batch_size=20, verbose=0)
    folder = tmp_path_factory.mktemp("model")
    export(network, rules, str(folder / "trained"))
    scores, sides = np.array([0.2, 0.8]), np.array([0, 1])
    point = operating_point.choose(scores, sides, rule="fixed")
    calibration = calibrate(scores, sides, prevalence=None, balance=None)
    trained = tf.saved_model.load(str(folder / "trained"))
    calibrated.export(trained, point, calibration, str(folder / "1"))
    return folder / "1"


@pytest.fixture(scope="module")
def raw(training_data) -> dict[str, bytes]:
    """Images as found in practice: phone JPEGs, cut-outs, and formats of web pages."""
    images = training_data[0]
    sources = [Image.open(io.BytesIO(images[index])).convert("RGB") for index in (0, 1, -2, -1)]
    kinds = {}
    for number, image in enumerate(sources):
        for orientation in range(1, 9):
            kinds[f"{number}, orientation {orientation}.jpg"] = turned_photograph(
                image, orientation
            )
        alpha = Image.radial_gradient("L").resize(image.size)
        kinds |= {
            f"{number}, cut out.png": encoded(Image.merge("RGBA", (*image.split(), alpha)), "PNG"),
            f"{number}, grey.jpg": encoded(image.convert("L")),
            f"{number}, palette.png": encoded(image.quantize(64), "PNG", transparency=1),
            f"{number}.gif": encoded(image.quantize(64), "GIF"),
            f"{number}.bmp": encoded(image, "BMP"),
        }
    return kinds


def probabilities(outputs: dict[str, tf.Tensor]) -> np.ndarray:
    return outputs["probability"].numpy()[:, 0]


def test_raw_files_the_reader_and_ingestion_give_the_same_probabilities(model, raw, tmp_path):
    rules = read_rules(model)
    signatures = tf.saved_model.load(str(model)).signatures
    stored = [read_image(data, max_side=rules.max_side).data for data in raw.values()]
    served = probabilities(signatures["predict_images"](images=tf.constant(list(raw.values()))))
    read = probabilities(signatures["predict_images"](images=tf.constant(stored)))
    ingested = probabilities(
        signatures["serving_default"](examples=tf.constant([example(data) for data in stored]))
    )
    files = [write(tmp_path / name, data) for name, data in raw.items()]
    predicted = [row.probability for row in predict(model, files)]
    np.testing.assert_array_equal(read, ingested)
    np.testing.assert_allclose(served, ingested, atol=1e-6)
    np.testing.assert_allclose(predicted, ingested, atol=1e-6)
    assert np.ptp(ingested) > 0.3, "the probabilities must differ between images"


def example(data: bytes) -> bytes:
    made = tf.train.Example()
    made.features.feature["image"].bytes_list.value.append(data)
    return made.SerializeToString()


def test_predictions_depend_neither_on_the_batch_nor_on_the_order(model, raw, tmp_path):
    files = [write(tmp_path / name, data) for name, data in list(raw.items())[:34]]
    together = {row.path: row.probability for row in predict(model, files)}
    alone = {file: next(iter(predict(model, [file]))).probability for file in files[::16]}
    backwards = {row.path: row.probability for row in predict(model, files[::-1])}
    for file in files:
        assert backwards[file] == pytest.approx(together[file], abs=1e-6)
    for file, probability in alone.items():
        assert probability == pytest.approx(together[file], abs=1e-6)


def test_the_rules_and_the_operating_point_are_in_the_assets(model):
    assets = {path.name: json.loads(path.read_text()) for path in (model / "assets").iterdir()}
    assert set(assets) == {"operating_point.json", "reading_rules.json"}
    assert assets["reading_rules.json"]["image_size"] == SIZE


def test_a_refused_image_is_named_with_its_index(model):
    served = tf.saved_model.load(str(model)).signatures["predict_images"]
    images = [encoded(picture(1)), encoded(picture(2), "WEBP")]
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 1 is refused: it is a WebP"):
        served(images=tf.constant(images))
