"""Which champions are compared: a real model of the Trainer and the Calibrator."""

import io
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_folders import make_model
from PIL import Image

from components import names
from components.calibrator import operating_point
from components.calibrator.calibration import Calibration
from components.calibrator.export import export as export_calibrated
from components.calibrator.maps import Map
from components.calibrator.prior_shift import PriorShift
from components.champion_finder import found_champion
from components.evaluator import champion_comparison
from components.evaluator.champion_model import ChampionModel
from components.images.rules import ReadingRules
from components.registry import VersionRecord, open_registry
from components.trainer.export import export

CLASSES = {"cats": 10, "dogs": 1, "a class of earlier data": 2}


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    """A calibrated network for images of 24 x 24 pixels, which is not trained."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((24, 24, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    rules = ReadingRules(image_size=24, pixel_range=(0.0, 1.0))
    export(keras.Sequential(layers), rules, str(folder / "trained"))
    scores, labels = np.float32([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0])
    point = operating_point.choose(scores, labels, prevalence=0.1, rule="fixed", threshold=0.55)
    calibration = Calibration("none", PriorShift(0.0, 0.0), Map("none"), 0.1, 2, 2, (), ())
    trained = tf.saved_model.load(str(folder / "trained"))
    export_calibrated(trained, point, calibration, str(folder / "calibrated"))
    return folder / "calibrated"


@pytest.fixture
def challenger(tmp_path):
    return make_model(tmp_path / "challenger")


def plan(tmp_path, challenger, champion, positive_class="dogs"):
    registry = open_registry(tmp_path / "registry")
    if champion is not None:
        settings = {
            "data": {"positive_class": positive_class},
            "population": {"prevalence": CLASSES},
        }
        registry.push(
            champion, lambda number: VersionRecord(version=number, blessed=True, settings=settings)
        )
    uri = str(tmp_path / "champion")
    found_champion.find(found_champion.Request(registry.root, "", "dogs"), uri)
    return champion_comparison.plan(uri, str(challenger))


def photograph(size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_champion_of_another_image_size_and_more_classes_predicts_by_its_own_signature(
    challenger, champion, tmp_path
):
    planned = plan(tmp_path, challenger, champion)
    assert (planned.record, planned.version) == (None, 1)
    assert planned.threshold == pytest.approx(0.55)
    images = tf.constant([photograph((40, 30), 1), photograph((24, 64), 2), photograph((9, 9), 3)])
    found = ChampionModel(planned.folder)(images)
    expected = tf.saved_model.load(str(champion)).signatures[names.PREDICT_IMAGES](images=images)
    probability = expected[names.PROBABILITY].numpy()[:, 0]
    np.testing.assert_allclose(found[names.CHAMPION_PROBABILITY], probability, atol=1e-6)
    assert np.ptp(probability) > 0.01
    called = expected[names.IS_POSITIVE].numpy()[:, 0].tolist()
    assert found[names.CHAMPION_IS_POSITIVE].tolist() == called


def state(planned):
    return planned.record["state"], planned.record["version"]


def test_the_first_model_and_the_champion_itself_are_not_compared(challenger, champion, tmp_path):
    first = plan(tmp_path / "first", challenger, None)
    assert state(first) == ("first_model", None)
    assert "this is the first model" in first.record["reason"]
    same = plan(tmp_path / "same", champion, champion)
    assert state(same) == ("same_model", 1)
    assert "this model is the champion itself, version 1 of" in same.record["reason"]


def test_a_champion_of_another_positive_class_is_refused_in_words(challenger, champion, tmp_path):
    planned = plan(tmp_path, challenger, champion, positive_class="cats")
    assert state(planned) == ("refused", 1)
    assert "its positive class must be 'dogs'" in planned.record["reason"]
    assert planned.folder is None


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("signature", "a signature 'predict_images'"), ("point", "no operating point")],
)
def test_a_champion_without_a_signature_or_an_operating_point_is_refused(
    challenger, champion, tmp_path, missing, expected
):
    other = tmp_path / "other"
    if missing == "signature":
        tf.saved_model.save(tf.Module(), str(other))
    else:
        shutil.copytree(champion, other)
        (other / "assets" / operating_point.ASSET_NAME).unlink()
    planned = plan(tmp_path, challenger, other)
    assert state(planned) == ("refused", 1)
    assert expected in planned.record["reason"]


def test_a_champion_that_can_not_be_loaded_predicts_nothing(champion, tmp_path, caplog):
    damaged = tmp_path / "damaged"
    shutil.copytree(champion, damaged)
    shutil.rmtree(damaged / "variables")
    found = ChampionModel(str(damaged))(tf.constant([photograph((9, 9), 1)]))
    assert np.isnan(found[names.CHAMPION_PROBABILITY]).all()
    assert "the champion can't be loaded" in caplog.text
