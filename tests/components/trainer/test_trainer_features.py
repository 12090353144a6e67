from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from damage import DAMAGES

from components.trainer.data import read_split
from components.trainer.features import Rows, compute_rows, row_batches
from components.trainer.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(16, (-1.0, 1.0))


@pytest.fixture(scope="module")
def split(examples_uri):
    return read_split("train", [f"{examples_uri}/Split-train/*"])


@pytest.fixture(scope="module")
def body():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def _images(split) -> np.ndarray:
    feature = {"image": tf.io.FixedLenFeature([], tf.string)}
    return np.stack(
        [
            PREPROCESSING(tf.io.parse_single_example(record, feature)["image"]).numpy()
            for record in tf.data.TFRecordDataset(list(split.files))
        ]
    )


def test_without_a_body_the_rows_are_the_images(split, tmp_path):
    rows = compute_rows(split, None, PREPROCESSING, path=tmp_path / "rows")
    np.testing.assert_array_equal(rows.values, _images(split))
    np.testing.assert_array_equal(rows.labels, split.labels)


def test_rows_of_images_have_their_units(split, tmp_path):
    known = replace(split, units=np.arange(16) // 2)
    rows = compute_rows(known, None, PREPROCESSING, path=tmp_path / "rows")
    assert list(rows.units) == list(known.units)
    assert list(rows.take(np.array([5, 2])).units) == [2, 1]
    assert compute_rows(split, None, PREPROCESSING, path=tmp_path / "rows").units is None


def test_with_a_body_the_rows_are_its_output_in_inference(split, body, tmp_path):
    rows = compute_rows(split, body, PREPROCESSING, path=tmp_path / "rows")
    expected = body(_images(split), training=False)
    np.testing.assert_allclose(rows.values, expected, atol=1e-6)


def test_existing_rows_are_not_computed_again(split, body, tmp_path):
    first = compute_rows(split, body, PREPROCESSING, path=tmp_path / "rows")
    written = (tmp_path / "rows").stat().st_mtime_ns
    again = compute_rows(split, body, PREPROCESSING, path=tmp_path / "rows")
    np.testing.assert_array_equal(again.values, first.values)
    assert (tmp_path / "rows").stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rows_are_computed_again_with_a_warning(split, body, tmp_path, caplog, damage):
    path = tmp_path / "rows"
    whole = np.array(compute_rows(split, body, PREPROCESSING, path=path).values)
    damage(path)
    again = compute_rows(split, body, PREPROCESSING, path=path)
    np.testing.assert_array_equal(again.values, whole)
    assert f"{path} is damaged" in caplog.text


def test_rows_of_another_shape_are_computed_again(split, body, tmp_path, caplog):
    compute_rows(split, body, PREPROCESSING, path=tmp_path / "rows")
    rows = compute_rows(split, None, PREPROCESSING, path=tmp_path / "rows")
    np.testing.assert_array_equal(rows.values, _images(split))
    assert "is damaged" in caplog.text


def test_rows_that_a_crash_left_incomplete_are_removed(split, body, tmp_path):
    (tmp_path / ".0-rows").write_bytes(b"written before a crash")
    compute_rows(split, body, PREPROCESSING, path=tmp_path / "rows")
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_batches_follow_the_indices():
    rows = Rows(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1]))
    indices = tf.data.Dataset.from_tensor_slices(np.array([5, 0, 5]))
    (first, first_labels), (second, second_labels) = row_batches(rows, indices, batch_size=2)
    np.testing.assert_array_equal(first, [[10, 11], [0, 1]])
    np.testing.assert_array_equal(first_labels, [[1], [0]])
    np.testing.assert_array_equal(second, [[10, 11]])
    assert second_labels.dtype == tf.float32
