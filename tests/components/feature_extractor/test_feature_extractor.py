"""FeatureExtractor on Beam, with a real Xception with random weights."""

import io
import json
import random
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from damage import flip_a_bit
from listed import assert_listed, list_files
from PIL import Image
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from components import code_version
from components.artifact_files import DamagedArtifactError
from components.example_files import shard_name, split_dir, split_shards
from components.feature_extractor import backbone as backbone_module
from components.feature_extractor.backbone import Backbone, Wanted
from components.feature_extractor.executor import Executor
from components.feature_extractor.inference import FeatureModel, infer
from components.trainer.bodies import body_of_views

SIZE = 71
XCEPTION = {
    "model": "xception",
    "weights": "none",
    "pooled": True,
    "image_size": SIZE,
    "input_scale": "-1..1",
}
COUNTS = {"train": 5, "val": 3}
PROPERTIES = {
    "model_name": "xception",
    "views": '["original"]',
    "weights": "none",
    "weights_version": "",
    "splits": "[]",
    "keeps_views": 0,
    "pooled": 1,
    "image_size": SIZE,
    "input_scale": "-1..1",
}


def _example_image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _example(seed: int) -> bytes:
    features = tf.train.Features()
    features.feature["image"].bytes_list.value.append(_example_image(seed))
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
    list_files(uri)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    uri = tmp_path_factory.mktemp("images")
    _write(uri, "train", range(5))
    _write(uri, "val", range(10, 13))
    return uri


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    """Runs the component; returns its output artifact."""

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
        for shard in split_shards(uri, split)
        for record in tf.data.TFRecordDataset(shard.path).as_numpy_iterator()
    ]


def _values(example: tf.train.Example) -> np.ndarray:
    features = example.features.feature
    kind = features["features_type"].bytes_list.value[0].decode()
    flat = np.frombuffer(features["features"].bytes_list.value[0], kind)
    return flat.reshape(features["features_shape"].int64_list.value)


def test_features_replace_the_image_and_nothing_else_changes(images, featured):
    assert json.loads(featured.split_names) == ["train", "val"]
    for split, count in COUNTS.items():
        before, after = _records(str(images), split), _records(featured.uri, split)
        assert len(after) == count
        for one, other in zip(before, after, strict=True):
            assert set(other.features.feature) == {
                *(set(one.features.feature) - {"image"}),
                "features",
                "features_shape",
                "features_type",
            }
            for key in ("image_id", "label", "breed"):
                assert other.features.feature[key] == one.features.feature[key]


def test_features_are_the_backbones_output_for_the_image(images, featured):
    backbone = Backbone(**XCEPTION)
    body = backbone.build()
    for one, other in zip(
        _records(str(images), "train"), _records(featured.uri, "train"), strict=True
    ):
        encoded = tf.constant([one.features.feature["image"].bytes_list.value[0]])
        expected = body(backbone.preprocessing.batch(encoded), training=False)[0]
        assert _values(other).dtype == np.float32
        np.testing.assert_allclose(_values(other), expected, rtol=1e-4, atol=1e-5)


def test_random_weights_are_the_same_each_time_whatever_other_threads_draw(monkeypatch):
    backbone = Backbone(**XCEPTION)
    first = backbone.key(backbone.build())
    monkeypatch.setattr(random, "randint", random.SystemRandom().randint)
    assert backbone.key(backbone.build()) == first


def test_the_features_of_a_known_image_are_not_computed_again(
    images, store, featured, extract, tmp_path
):
    def stored() -> list[str]:
        return [line for part in store.rglob("*.ids") for line in part.read_text().splitlines()]

    again = extract(images, store)
    assert len(stored()) == sum(COUNTS.values())
    assert _records(again.uri, "val") == _records(featured.uri, "val")
    # Another split, with four known images and two new ones.
    _write(tmp_path / "grown", "test", [0, 1, 2, 11, 20, 21])
    grown = extract(tmp_path / "grown", store, given=["test"])
    assert len(_records(grown.uri, "test")) == 6
    assert len(stored()) == len(set(stored())) == sum(COUNTS.values()) + 2


def test_the_same_file_stored_with_other_settings_has_other_features(
    images, store, featured, extract, tmp_path
):
    # As with another data.max_side: the same image_id, but another stored image.
    folder = Path(split_dir(str(tmp_path / "smaller"), "val"))
    folder.mkdir(parents=True)
    other = tf.train.Example.FromString(_example(10))
    pixels = tf.train.Example.FromString(_example(99)).features.feature["image"]
    other.features.feature["image"].CopyFrom(pixels)
    with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
        writer.write(other.SerializeToString())
    list_files(tmp_path / "smaller")
    again = extract(tmp_path / "smaller", store, given=["val"])
    (one,) = _records(again.uri, "val")
    first = _records(featured.uri, "val")[0]
    assert one.features.feature["image_id"] == first.features.feature["image_id"]
    assert not np.array_equal(_values(one), _values(first))


def test_the_weights_of_the_workers_are_of_one_run_and_removed_at_its_end(
    images, extract, tmp_path, monkeypatch
):
    saved = []
    save = keras.Model.save_weights

    def noted(self, path, *arguments, **options):
        saved.append(Path(path))
        save(self, path, *arguments, **options)

    monkeypatch.setattr(keras.Model, "save_weights", noted)
    extract(images, tmp_path)
    _write(tmp_path / "grown", "test", [50])
    extract(tmp_path / "grown", tmp_path, given=["test"])
    assert len(set(saved)) == 2
    assert {path.suffix for path in saved[0].parent.iterdir()} == {".ids", ".npy"}


def test_features_of_other_code_have_another_key(monkeypatch):
    backbone = Backbone(**XCEPTION)
    body = backbone.build()
    before = backbone.key(body)
    monkeypatch.setattr(backbone_module, "modules_version", lambda *given, **more: "other")
    assert backbone.key(body) != before


def test_features_of_other_weights_under_the_same_name_have_another_key(tmp_path):
    def key(seed: int) -> str:
        keras.utils.set_random_seed(seed)
        path = tmp_path / "body.weights.h5"
        keras.applications.Xception(
            weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg"
        ).save_weights(path)
        backbone = Backbone(**XCEPTION | {"weights": str(path)})
        return backbone.key(backbone.build())

    assert key(1) != key(2)
    assert key(1) == key(1)


@pytest.mark.parametrize(
    "change",
    [{"model": "densenet121"}, {"pooled": False}, {"image_size": 80}, {"input_scale": "0..1"}],
)
def test_features_of_other_settings_have_another_key(change):
    one, other = Backbone(**XCEPTION), Backbone(**XCEPTION | change)
    assert one.key(one.build()) != other.key(other.build())


@pytest.mark.parametrize("module", ["images/graph", "trainer/preprocessing", "trainer/bodies"])
def test_the_key_of_features_depends_on_the_code_that_computes_them(module, monkeypatch, tmp_path):
    shutil.copytree(Path(code_version.__file__).parent, tmp_path / "components")
    monkeypatch.setattr(code_version, "_ROOT", tmp_path)
    backbone = Backbone(**XCEPTION)
    body = backbone.build()
    before = backbone.key(body)
    with open(tmp_path / "components" / f"{module}.py", "a") as file:
        file.write("# changed\n")
    assert backbone.key(body) != before


def test_without_a_store_only_the_splits_remain(images, extract):
    featured = extract(images, "")
    assert sorted(path.name for path in Path(featured.uri).iterdir()) == [
        "Split-train",
        "Split-val",
        "features.json",
        "files.json",
    ]


def test_only_the_requested_splits_are_written(images, store, extract):
    featured = extract(images, store, splits='["val"]')
    assert json.loads(featured.split_names) == ["val"]
    written = sorted(path.name for path in Path(featured.uri).iterdir())
    assert written == ["Split-val", "features.json", "files.json"]


def test_weights_that_do_not_exist_are_refused(images, extract, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        extract(images, tmp_path, weights="/nowhere/xception.h5")


def test_a_missing_shard_is_an_error_that_names_it(extract, tmp_path):
    _write(tmp_path / "images", "val", range(10, 13))
    (tmp_path / "images" / "Split-val" / shard_name(0, 2)).unlink()
    with pytest.raises(DamagedArtifactError, match="00000-of-00002 is missing, with 2 records"):
        extract(tmp_path / "images", tmp_path / "store", given=["val"])


def test_the_features_list_their_files(featured):
    assert_listed(featured.uri, check_digests=False)


def test_damaged_features_are_computed_again(images, extract, featured, tmp_path, caplog):
    extract(images, tmp_path)
    (part,) = tmp_path.rglob("*.npy")
    flip_a_bit(part)
    again = extract(images, tmp_path)
    assert f"{part} is damaged" in caplog.text
    assert _records(again.uri, "train") == _records(featured.uri, "train")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> dict[str, str]:
    """The properties of a small network of the user's own."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    path = tmp_path_factory.mktemp("own") / "own.keras"
    network.save(path)
    return {"model_name": str(path), "image_size": 32, "input_scale": "0..255"}


def _parts(store: Path) -> set[str]:
    return {str(path.relative_to(store)) for path in store.rglob("*.npy")}


def test_the_features_of_views_are_averaged_as_the_served_network_does(
    images, extract, tmp_path, own
):
    views = ("original", "original_mirror", "top_left_crop", "side_24")
    given = own | {"views": json.dumps(views)}
    featured = extract(images, tmp_path, **given)
    changes = {"model": own["model_name"], "image_size": 32, "input_scale": "0..255"}
    backbone = Backbone(**XCEPTION | changes, views=views)
    body = body_of_views(own["model_name"], 32, "none", pooled=True, views=views)
    for one, other in zip(_records(str(images), "val"), _records(featured.uri, "val"), strict=True):
        encoded = tf.constant([one.features.feature["image"].bytes_list.value[0]])
        expected = body(backbone.preprocessing.batch(encoded), training=False)[0]
        np.testing.assert_allclose(_values(other), expected, rtol=2e-3, atol=0.1)


def test_an_image_is_decoded_once_for_all_views_by_one_network(
    images, extract, tmp_path, own, monkeypatch
):
    decoded, built = [], []
    pixels, build_with = FeatureModel.pixels, Backbone.build_with

    def noted_pixels(self, encoded):
        decoded.extend(encoded.numpy())
        return pixels.__get__(self, FeatureModel)(encoded)

    def noted_build(self, weights):
        built.append(weights)
        return build_with(self, weights)

    monkeypatch.setattr(FeatureModel, "pixels", noted_pixels)
    monkeypatch.setattr(Backbone, "build_with", noted_build)
    several = own | {"views": '["original", "original_mirror", "side_24"]'}
    extract(images, tmp_path, **several)
    assert len(decoded) == sum(COUNTS.values())
    # Once for the key of the features, and once by the workers, which may be other processes.
    assert built == ["none", "none"]


@pytest.mark.parametrize("name", ["original", "original_mirror", "top_left_crop", "side_24"])
def test_the_features_of_a_view_do_not_depend_on_what_else_is_computed(name, own):
    network = {"model": own["model_name"], "image_size": 32, "input_scale": "0..255"}
    views = ("side_24", "original_mirror", "original", "top_left_crop")
    together = Backbone(**XCEPTION | network, views=views)
    (alone,) = (each for each in together.each_view if each.views == (name,))
    encoded = [_example_image(seed) for seed in range(3)]
    at = views.index(name)
    # Other views of the second image, and of the third this view alone.
    wanted = [Wanted(encoded[0], (0, 1, 2, 3)), Wanted(encoded[1], ()), Wanted(encoded[2], (at,))]
    first, none, third = (each.inference for each in infer(FeatureModel(together), wanted))
    (expected,) = infer(FeatureModel(alone), [Wanted(encoded[2], (0,))])
    assert (sorted(first), sorted(none), sorted(third)) == ([0, 1, 2, 3], [], [at])
    np.testing.assert_array_equal(third[at], expected.inference[0])


def test_only_the_missing_views_of_an_image_are_computed(images, extract, tmp_path, own):
    both = own | {"views": '["original", "original_mirror"]'}
    extract(images, tmp_path / "store", given=["val"], **own)
    featured = extract(images, tmp_path / "store", **both)
    fresh = extract(images, tmp_path / "fresh", **both)
    for split in COUNTS:
        assert _records(featured.uri, split) == _records(fresh.uri, split)
    stored = [
        sorted(line for part in store.glob("*.ids") for line in part.read_text().splitlines())
        for store in (tmp_path / "store").iterdir()
    ]
    assert len(stored) == 2
    assert stored[0] == stored[1]
    assert len(stored[0]) == len(set(stored[0])) == sum(COUNTS.values())


def test_a_view_that_is_known_is_not_computed_again(images, extract, tmp_path, own):
    extract(images, tmp_path, **own)
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in _parts(tmp_path)}
    extract(images, tmp_path, **own | {"views": '["original", "original_mirror"]'})
    assert len(_parts(tmp_path)) == 2 * len(before)
    for path, changed in before.items():
        assert (tmp_path / path).stat().st_mtime_ns == changed


def test_the_features_of_each_view_are_kept_on_request(images, extract, tmp_path, own):
    names = ("original", "original_mirror")
    alone = [extract(images, tmp_path, **own | {"views": json.dumps([name])}) for name in names]
    together = own | {"views": json.dumps(names)}
    featured = extract(images, tmp_path, **together | {"keeps_views": 1})
    each = zip(*(_records(found.uri, "val") for found in (featured, *alone)), strict=True)
    for record, *views in each:
        values = record.features.feature["view_features"].bytes_list.value[0]
        found = np.frombuffer(values, np.float32).reshape(2, -1)
        np.testing.assert_array_equal(found, [_values(view) for view in views])
        np.testing.assert_allclose(_values(record), found.mean(axis=0), rtol=1e-6)
    (first, *_) = _records(extract(images, tmp_path, **together).uri, "val")
    assert "view_features" not in first.features.feature
