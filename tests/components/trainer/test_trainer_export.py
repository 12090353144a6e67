import keras
import numpy as np
import pytest
import tensorflow as tf

from components.images.rules import ReadingRules
from components.trainer.data import image_batches, read_split
from components.trainer.export import export
from components.trainer.models import build_network
from components.trainer.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def split(examples_uri):
    return read_split("val", [f"{examples_uri}/Split-val/*"])


@pytest.fixture(scope="module", params=["cnn", "xception"])
def exported(request, split, make_settings, tmp_path_factory):
    """The signatures of an exported model, and the Keras model's probabilities of the split."""
    settings = make_settings(model=request.param, head="flatten", image_size=71)
    keras.utils.set_random_seed(0)
    model = build_network(settings).full
    if request.param == "xception":
        # With its random weights all images have about the same probability.
        *others, kernel, bias = model.get_weights()
        model.set_weights([*others, 1000 * kernel, bias])
    preprocessing = Preprocessing(settings.image_size, settings.pixel_range)
    images = next(iter(image_batches(split, preprocessing, batch_size=9)))
    folder = str(tmp_path_factory.mktemp(request.param))
    rules = ReadingRules(image_size=settings.image_size, pixel_range=settings.pixel_range)
    export(model, rules, folder)
    return tf.saved_model.load(folder).signatures, model(images, training=False).numpy()


def test_tf_examples_get_the_keras_models_probabilities(exported, split):
    signatures, expected = exported
    records = list(tf.data.TFRecordDataset(list(split.files)).as_numpy_iterator())
    outputs = signatures["serving_default"](examples=tf.constant(records))
    assert list(outputs) == ["probability"]
    assert outputs["probability"].dtype == tf.float32
    assert outputs["probability"].shape == (9, 1)
    np.testing.assert_allclose(outputs["probability"], expected, atol=1e-5)


def test_encoded_images_of_any_size_get_the_same_probabilities(exported, split):
    signatures, expected = exported
    records = tf.data.TFRecordDataset(list(split.files)).as_numpy_iterator()
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    images = [feature["image"].bytes_list.value[0] for feature in features]
    assert len({tf.io.decode_image(image).shape for image in images}) > 1
    outputs = signatures["predict_images"](images=tf.constant(images))
    np.testing.assert_allclose(outputs["probability"], expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
