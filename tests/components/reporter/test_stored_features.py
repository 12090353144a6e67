import numpy as np
import pandas as pd
import pytest
from other_splits import drawn_split, write_features

from components import example_files, names
from components.reporter import doubted_labels, stored_features


@pytest.fixture(scope="module")
def split():
    return drawn_split(names.TRAIN, 60, 140, seed=4)


@pytest.fixture(scope="module")
def shards(split, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("features"))
    write_features(root, split, "dogs")
    return example_files.split_shards(root, names.TRAIN)


def predictions_of(split):
    return pd.DataFrame(
        split.columns("dogs") | {names.SPLIT: split.name, names.PROBABILITY: split.probabilities}
    )


def test_features_are_averaged_over_the_image_and_in_the_order_of_the_ids(split, shards):
    found = stored_features.read(shards)
    order = np.argsort(split.image_ids)
    assert found.images[names.IMAGE_ID].tolist() == sorted(split.image_ids)
    assert found.images[names.LABEL].tolist() == split.labels[order].tolist()
    assert found.images[names.URI].tolist() == [split.uris[index] for index in order]
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, split.features[order], atol=0.01)
    assert found.total == 200


def test_about_the_requested_number_of_images_is_read_of_a_larger_split(split, shards):
    found = stored_features.read(shards, most=50)
    assert 35 <= len(found.images) <= 65
    assert found.total == 200
    again = stored_features.read(list(reversed(shards)), most=50)
    assert again.images.equals(found.images)
    np.testing.assert_array_equal(again.values, found.values)


def test_what_was_not_read_is_named(split, tmp_path, monkeypatch):
    val = drawn_split(names.VAL, 1, 20, seed=5)
    for each in (split, val):
        write_features(str(tmp_path), each, "dogs")
    predictions = [predictions_of(each) for each in (val, drawn_split(names.TEST, 5, 10, seed=6))]
    found = doubted_labels.collect(*predictions, str(tmp_path), prevalence=0.1)
    assert found.left_out == {}
    assert found.images[names.SPLIT].value_counts().to_dict() == {
        "train": 200,
        "val": 21,
        "test": 15,
    }
    monkeypatch.setattr(stored_features, "MOST", 50)
    found = doubted_labels.collect(*predictions, str(tmp_path), prevalence=0.1)
    assert found.left_out["train"].endswith(
        "of its 200 images, drawn at random, were compared with others"
    )


def test_train_with_too_few_images_of_a_side_is_left_out(tmp_path):
    splits = [drawn_split(name, 1, 20, seed=7) for name in (names.TRAIN, names.VAL, names.TEST)]
    for each in splits[:2]:
        write_features(str(tmp_path), each, "dogs")
    found = doubted_labels.collect(*map(predictions_of, splits[1:]), str(tmp_path), prevalence=0.1)
    assert found.left_out == {"train": "fewer than two images of a side"}
    assert set(found.images[names.SPLIT]) == {"val", "test"}
