"""The sample of images by which stored features are compared with the images themselves."""

import numpy as np
import pytest
import tensorflow as tf

from components.evaluator import spot_check


def test_the_highest_and_the_lowest_score_are_in_the_sample():
    scores = np.random.default_rng(0).random(1000)
    chosen = spot_check.sample(scores, np.zeros(1000, bool), size=3)
    assert len(chosen) == 3
    assert {scores.argmin(), scores.argmax()} < set(chosen)


def test_every_image_whose_decision_may_change_is_in_the_sample():
    near = np.arange(100) % 7 == 0
    chosen = spot_check.sample(np.linspace(0, 1, 100), near, size=1)
    assert set(np.flatnonzero(near)) <= set(chosen)
    assert len(chosen) <= near.sum() + 1


def test_the_sample_depends_on_the_file_and_on_nothing_else():
    scores, near = np.linspace(0, 1, 500), np.zeros(500, bool)
    samples = [spot_check.sample(scores, near, size=32, index=index) for index in (0, 0, 1)]
    assert samples[0].tolist() == samples[1].tolist() != samples[2].tolist()
    assert len(samples[0]) == 32


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_file_with_few_images_is_its_own_sample(count):
    chosen = spot_check.sample(np.zeros(count), np.zeros(count, bool), size=32)
    assert chosen.tolist() == list(range(count))


def test_the_files_of_a_split_share_its_sample():
    assert [spot_check.size_per_file(files) for files in (1, 10, 1000)] == [32, 4, 1]


def test_records_are_found_by_their_place(tmp_path):
    path = str(tmp_path / "shard")
    with tf.io.TFRecordWriter(path) as writer:
        for index in range(100):
            writer.write(str(index).encode())
    batches = spot_check.records_at(path, np.array([0, 31, 32, 99]))
    found = [each for batch in batches for each in batch.numpy()]
    assert found == [b"0", b"31", b"32", b"99"]
    with pytest.raises(IndexError, match="record 100 is requested"):
        list(spot_check.records_at(path, np.array([3, 100])))


def test_scores_that_differ_by_rounding_are_equal():
    spot_check.check(["a", "b"], [0.2, np.nan], [0.2 + 1e-6, np.nan], what="the model")


@pytest.mark.parametrize("other", [0.51, np.nan])
def test_another_score_is_an_error_with_the_image_and_both_scores(other):
    message = (
        rf"the model must give the same score .* 0\.5 for the features and {other} for image b"
    )
    with pytest.raises(spot_check.UnequalScoresError, match=message):
        spot_check.check(["a", "b"], [0.2, 0.5], [0.2, other], what="the model")
