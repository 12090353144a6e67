"""Trainings that begin with the weights of a champion: real SavedModels."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from listed import list_files

from components.calibrator import operating_point
from components.calibrator.calibration import Calibration
from components.calibrator.export import export as export_calibrated
from components.calibrator.maps import Map
from components.calibrator.prior_shift import PriorShift
from components.images.rules import ReadingRules
from components.trainer import warm_start
from components.trainer.export import export
from components.trainer.models import build_network
from components.trainer.preprocessing import Preprocessing
from components.trainer.warm_start import ChampionWeights, WarmStartError

WARM = {"warm_start": "champion"}
CONVOLUTION = {"kernel": np.zeros((3, 3, 3, 32)), "bias": np.zeros(32)}


def champion_in(folder, model=None):
    """A Champion artifact with a SavedModel, or with the reason why there is none."""
    found = {"version": 1 if model else None, "registry": "models", "reason": ""}
    if model is None:
        found["reason"] = "the registry has no serving version, so this is the first model"
    else:
        shutil.copytree(model, folder / "model")
    folder.mkdir(exist_ok=True)
    (folder / "champion.json").write_text(json.dumps(found))
    list_files(folder)
    return folder


@pytest.fixture(scope="module")
def records(examples_uri):
    files = sorted(str(file) for file in (examples_uri / "Split-val").iterdir())
    return tf.constant(list(tf.data.TFRecordDataset(files).as_numpy_iterator()))


def probabilities(model, records):
    served = tf.saved_model.load(str(model)).signatures["serving_default"]
    return served(examples=records)["probability"].numpy()


@pytest.fixture(scope="module")
def trained(make_settings, tmp_path_factory):
    """The SavedModel of a CNN."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    keras.utils.set_random_seed(7)
    rules = ReadingRules(image_size=32, pixel_range=(0.0, 1.0))
    export(build_network(make_settings()).full, rules, str(folder))
    return folder


@pytest.fixture(scope="module")
def champion(trained, tmp_path_factory):
    """The champion, calibrated as every version of a registry."""
    folder = tmp_path_factory.mktemp("found")
    point = operating_point.choose(
        np.float32([0.9, 0.1]), np.array([1, 0]), prevalence=0.1, rule="fixed", threshold=0.5
    )
    calibration = Calibration("none", PriorShift(0.0, 0.0), Map("none"), 0.1, 1, 1, (), ())
    calibrated = str(folder / "calibrated")
    export_calibrated(tf.saved_model.load(str(trained)), point, calibration, calibrated)
    return champion_in(folder / "champion", calibrated)


def test_a_network_gets_the_champions_weights(champion, trained, make_settings, records, caplog):
    network = build_network(make_settings())
    with caplog.at_level("INFO", logger="outnumbered.trainer"):
        warm_start.apply(warm_start.read(str(champion)), network)
    feature = {"image": tf.io.FixedLenFeature([], tf.string)}
    images = Preprocessing(32, (0.0, 1.0)).batch(tf.io.parse_example(records, feature)["image"])
    expected = probabilities(trained, records)
    np.testing.assert_allclose(network.full(images), expected, atol=1e-5)
    assert caplog.messages == ["warm start: the weights of the champion, version 1 of models"]


def test_without_a_champion_a_training_begins_from_nothing_which_is_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="outnumbered.trainer"):
        assert warm_start.read(str(champion_in(tmp_path / "none"))) is None
    (line,) = caplog.messages
    assert line.startswith("no warm start: the registry has no serving version")


def test_a_warm_started_training_resumes_without_a_second_start(
    champion, run_trainer, records, tmp_path, caplog, cut_off_at
):
    install, remove = cut_off_at
    with caplog.at_level("INFO", logger="outnumbered.trainer"):
        whole, _ = run_trainer("whole", champion=champion, **WARM)
    assert "warm start: the weights of the champion, version 1 of models" in caplog.messages
    install("epoch 2/2")
    with pytest.raises(KeyboardInterrupt):
        run_trainer("cut", champion=champion, **WARM)
    remove()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    resumed, _ = run_trainer("resumed", champion=champion, **WARM)
    assert not checkpoint.exists()
    np.testing.assert_array_equal(probabilities(resumed, records), probabilities(whole, records))


def test_a_champion_of_another_image_size_is_refused_by_layer_and_shape(champion, make_settings):
    network = build_network(make_settings(image_size=24))
    before = network.full.get_weights()
    expected = (
        r"version 1 of models, doesn't fit: layer 'dense\w*' must have bias \(64,\), "
        r"kernel \(1152, 64\); .*null\. Received: bias \(64,\), kernel \(2048, 64\)"
    )
    with pytest.raises(WarmStartError, match=expected):
        warm_start.apply(warm_start.read(str(champion)), network)
    for value, kept in zip(network.full.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_a_model_of_another_tool_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    other = champion_in(tmp_path / "champion", tmp_path / "other")
    with pytest.raises(WarmStartError, match="must be a model that the Trainer has exported"):
        warm_start.read(str(other))


@pytest.fixture(scope="module")
def fine_tuned(make_settings, tmp_path_factory):
    """An Xception of which the head and the fine-tuned blocks were changed, and its champion."""
    keras.utils.set_random_seed(0)
    network = build_network(xception(make_settings, fine_tune=True))
    for variable in network.trained.weights:
        variable.assign(variable + 0.01)
    folder = tmp_path_factory.mktemp("xception")
    rules = ReadingRules(image_size=71, pixel_range=(-1.0, 1.0))
    export(network.full, rules, str(folder / "model"))
    return network, warm_start.read(str(champion_in(folder / "champion", folder / "model")))


def xception(make_settings, **changes):
    return make_settings(model="xception", image_size=71, **changes)


def new_network(make_settings, **changes):
    """A network whose weights, as those of ImageNet, are always the same."""
    keras.utils.set_random_seed(0)
    return build_network(xception(make_settings, **changes))


def assert_same_weights(network, expected):
    for value, kept in zip(network.full.get_weights(), expected.full.get_weights(), strict=True):
        np.testing.assert_array_equal(value, kept)


def test_a_fine_tuned_champion_starts_a_fine_tuning_and_a_whole_network(fine_tuned, make_settings):
    expected, champion = fine_tuned
    network = new_network(make_settings, fine_tune=True)
    warm_start.apply(champion, network)
    assert_same_weights(network, expected)
    augmented = new_network(make_settings, augmentation=True)
    warm_start.apply(champion, augmented)
    assert_same_weights(augmented, expected)


def test_a_head_on_a_frozen_body_starts_only_from_one_on_the_same_body(fine_tuned, make_settings):
    champion = fine_tuned[1]
    network = new_network(make_settings)
    with pytest.raises(WarmStartError, match=r"layer 'block13_\w+' is not trained, so it must"):
        warm_start.apply(champion, network)
    layers = [layer for layer in network.body.layers if layer.weights]
    body = [{each.name: each.numpy() for each in layer.weights} for layer in layers]
    hidden = {"kernel": np.zeros((2048, 512)), "bias": np.zeros(512)}
    with pytest.raises(WarmStartError, match=r"layer 'probability' must .*Received: bias \(512,\)"):
        warm_start.apply(ChampionWeights("another head", [*body, hidden]), network)
    with pytest.raises(WarmStartError, match=r"layer 'block1_conv1' must .*Received: bias \(32,\)"):
        warm_start.apply(ChampionWeights("a cnn", [CONVOLUTION]), network)
    warm_start.apply(ChampionWeights("one", [*body, champion.layers[-1]]), network)
    for variable in network.trained.weights:
        np.testing.assert_array_equal(variable.numpy(), champion.layers[-1][variable.name])


@pytest.mark.parametrize("model", ["own", "efficientnet_b0", "convnext_tiny"])
def test_a_network_with_networks_within_or_odd_names_starts_from_its_champion(
    model, make_settings, tmp_path
):
    if model == "own":
        model = str(tmp_path / "own.keras")
        normalized = [keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization()]
        keras.Sequential([keras.Input((32, 32, 3)), *normalized]).save(model)
    settings = make_settings(model=model, image_size=32, weights="none")
    network = build_network(settings)
    champion = _champion_of(network, tmp_path / "weights")
    expected = network.full.get_weights()
    # The body must be the champion's, since it is not trained.
    network.trained.set_weights([value + 1 for value in network.trained.get_weights()])
    warm_start.apply(champion, network)
    for value, kept in zip(network.full.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(value, kept)


def _champion_of(network, folder) -> ChampionWeights:
    """The champion whose SavedModel has a network's weights, without the time of an export."""
    written = tf.train.Checkpoint(_model=network.full).write(str(folder))
    return ChampionWeights("the champion", warm_start.layers_of(tf.train.load_checkpoint(written)))
