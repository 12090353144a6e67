"""FeatureExtractor on Beam, with a real Xception of random weights."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components.example_files import shard_name, split_dir, split_files
from components.feature_extractor.backbone import Backbone
from components.feature_extractor.executor import Executor
from components.images import rules

SIZE = 71
COUNTS = {"train": 5, "val": 3}
PROPERTIES = {
    "weights": "none",
    "weights_version": "",
    "splits": "[]",
    "pooled": 1,
    "image_size": SIZE,
    "input_scale": "-1..1",
}


def _example(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    features = tf.train.Features()
    features.feature["image"].bytes_list.value.append(buffer.getvalue())
    features.feature["label"].int64_list.value.append(seed % 2)
    features.feature["image_id"].bytes_list.value.append(f"{seed:064x}".encode())
    features.feature["breed"].bytes_list.value.append(b"poodle")
    return tf.train.Example(features=features).SerializeToString()


def _write(uri: Path, split: str, seeds) -> None:
    folder = Path(split_dir(str(uri), split))
    folder.mkdir(parents=True)
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / shard_name(shard, 2))) as writer:
            for seed in list(seeds)[shard::2]:
                writer.write(_example(seed))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    uri = tmp_path_factory.mktemp("images")
    _write(uri, "train", range(5))
    _write(uri, "val", range(10, 13))
    return uri


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    """Runs the component; returns the Examples artifact that it made."""

    def run(uri: Path, store: Path | str, *, given=tuple(COUNTS), **changes):
        examples, featured = standard_artifacts.Examples(), standard_artifacts.Examples()
        examples.uri, featured.uri = str(uri), str(tmp_path_factory.mktemp("featured"))
        examples.split_names = artifact_utils.encode_split_names(list(given))
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
            tmp_dir=str(tmp_path_factory.mktemp("tmp")),
            unique_id="1",
        )
        Executor(context).Do(
            {"examples": [examples]},
            {"featured_examples": [featured]},
            PROPERTIES | {"store": str(store)} | changes,
        )
        return featured

    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def featured(images, store, extract):
    return extract(images, store)


def _records(uri: str, split: str) -> list[tf.train.Example]:
    return [
        tf.train.Example.FromString(record)
        for file in split_files(uri, split)
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator()
    ]


def _values(example: tf.train.Example) -> np.ndarray:
    features = example.features.feature
    flat = np.frombuffer(features["features"].bytes_list.value[0], np.float16)
    return flat.reshape(features["features_shape"].int64_list.value)


def test_features_take_the_place_of_the_image_and_all_else_stays(images, featured):
    assert json.loads(featured.split_names) == ["train", "val"]
    for split, count in COUNTS.items():
        before, after = _records(str(images), split), _records(featured.uri, split)
        assert len(after) == count
        for one, other in zip(before, after, strict=True):
            assert set(other.features.feature) == {
                *(set(one.features.feature) - {"image"}),
                "features",
                "features_shape",
            }
            for key in ("image_id", "label", "breed"):
                assert other.features.feature[key] == one.features.feature[key]


def test_features_are_what_the_backbone_makes_of_the_image(images, featured):
    backbone = Backbone(weights="none", pooled=True, image_size=SIZE, input_scale="-1..1")
    body = backbone.build()
    for one, other in zip(
        _records(str(images), "train"), _records(featured.uri, "train"), strict=True
    ):
        encoded = tf.constant([one.features.feature["image"].bytes_list.value[0]])
        expected = body(backbone.preprocessing.batch(encoded), training=False)[0]
        np.testing.assert_allclose(_values(other), expected, rtol=2e-3, atol=1e-4)


def test_an_image_that_is_known_does_not_go_through_the_backbone_again(
    images, store, featured, extract, tmp_path
):
    def kept() -> list[str]:
        return [line for part in store.rglob("*.ids") for line in part.read_text().splitlines()]

    again = extract(images, store)
    assert len(kept()) == sum(COUNTS.values())
    assert _records(again.uri, "val") == _records(featured.uri, "val")
    # Other splits, four images that are known and two that are not.
    _write(tmp_path / "grown", "test", [0, 1, 2, 11, 20, 21])
    grown = extract(tmp_path / "grown", store, given=["test"])
    assert len(_records(grown.uri, "test")) == 6
    assert len(kept()) == len(set(kept())) == sum(COUNTS.values()) + 2


def test_other_weights_under_the_same_name_are_other_features(tmp_path):
    def key(seed: int) -> str:
        keras.utils.set_random_seed(seed)
        path = tmp_path / "body.weights.h5"
        keras.applications.Xception(
            weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg"
        ).save_weights(path)
        backbone = Backbone(weights=str(path), pooled=True, image_size=SIZE, input_scale="-1..1")
        return backbone.key(backbone.build())

    assert key(1) != key(2)
    assert key(1) == key(1)


@pytest.mark.parametrize("change", [{"pooled": False}, {"image_size": 80}, {"input_scale": "0..1"}])
def test_features_of_other_settings_are_kept_apart(change):
    settings = {"weights": "none", "pooled": True, "image_size": SIZE, "input_scale": "-1..1"}
    one, other = Backbone(**settings), Backbone(**settings | change)
    assert one.key(one.build()) != other.key(other.build())


def test_features_of_images_that_were_read_by_other_rules_are_kept_apart(monkeypatch):
    backbone = Backbone(weights="none", pooled=True, image_size=SIZE, input_scale="0..1")
    body = backbone.build()
    before = backbone.key(body)
    monkeypatch.setattr(rules, "VERSION", rules.VERSION + 1)
    assert backbone.key(body) != before


def test_without_a_store_nothing_is_left_but_the_splits(images, extract):
    featured = extract(images, "")
    assert sorted(path.name for path in Path(featured.uri).iterdir()) == [
        "Split-train",
        "Split-val",
    ]


def test_only_the_splits_that_are_asked_for_are_written(images, store, extract):
    featured = extract(images, store, splits='["val"]')
    assert json.loads(featured.split_names) == ["val"]
    assert [path.name for path in Path(featured.uri).iterdir()] == ["Split-val"]


def test_weights_that_are_not_there_are_named(images, extract, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        extract(images, tmp_path, weights="/nowhere/xception.h5")
