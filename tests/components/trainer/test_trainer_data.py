import numpy as np
import pytest
from damage import flip_a_bit

from components.artifact_files import DamagedArtifactError
from components.example_files import shard_name
from components.trainer.data import image_batches, read_split
from components.trainer.preprocessing import Preprocessing


def test_a_split_is_read_from_the_pattern_that_tfx_passes(examples_uri):
    split = read_split("train", [f"{examples_uri}/Split-train/*"])
    assert [file[-5:] for file in split.files] == ["00002", "00002"]
    assert (split.negatives, split.positives) == (12, 4)


def test_shards_are_read_in_the_order_of_their_names(examples_uri):
    folder = f"{examples_uri}/Split-train"
    split = read_split("train", [f"{folder}/*-00001-of-*", f"{folder}/*-00000-of-*"])
    assert split.digest == read_split("train", [f"{folder}/*"]).digest


def test_a_folder_whose_name_looks_like_a_pattern_is_read_and_not_the_one_it_matches(
    tmp_path, write_split
):
    pattern = write_split(tmp_path / "exp[1]", "train", 3, 2)
    write_split(tmp_path / "exp1", "train", 12, 4)
    split = read_split("train", [pattern])
    assert (split.negatives, split.positives) == (3, 2)
    assert all("exp[1]" in file for file in split.files)


def test_each_image_is_read_once_in_the_order_of_the_labels(examples_uri):
    split = read_split("train", [f"{examples_uri}/Split-train/*"])
    batches = list(image_batches(split, Preprocessing(8, (0.0, 1.0)), batch_size=5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    # Positive images are the redder ones.
    redness = np.concatenate([np.mean(batch[..., 0], axis=(1, 2)) for batch in batches])
    np.testing.assert_array_equal(redness > 0.45, split.labels == 1)


def test_the_digest_depends_on_the_content_and_not_on_the_path(examples_uri, tmp_path, write_split):
    pattern = write_split(tmp_path / "copy", "train", 12, 4)
    other = write_split(tmp_path / "other", "train", 12, 4, first_seed=1)
    digest = read_split("train", [f"{examples_uri}/Split-train/*"]).digest
    assert read_split("train", [pattern]).digest == digest
    assert read_split("train", [other]).digest != digest


@pytest.mark.parametrize("counts", [(5, 0), (0, 5)])
def test_a_split_of_one_side_is_refused_with_its_counts(tmp_path, write_split, counts):
    pattern = write_split(tmp_path, "val", *counts)
    negatives, positives = counts
    message = f"split 'val' .* Received: {positives} positive, {negatives} negative"
    with pytest.raises(ValueError, match=message):
        read_split("val", [pattern])


def test_a_split_without_files_is_refused(examples_uri):
    message = r"no shard of split 'rest' .*Received: \['Split-train', 'Split-val'\]"
    with pytest.raises(FileNotFoundError, match=message):
        read_split("rest", [f"{examples_uri}/Split-rest/*"])


def test_a_split_with_a_missing_shard_is_an_error_that_names_it(tmp_path, write_split):
    pattern = write_split(tmp_path, "val", 5, 2)
    (tmp_path / "Split-val" / shard_name(1, 2)).unlink()
    with pytest.raises(DamagedArtifactError, match=r"-00001-of-00002 is missing, with 3 records"):
        read_split("val", [pattern])


def test_a_damaged_shard_is_an_error_that_names_it(tmp_path, write_split):
    pattern = write_split(tmp_path, "val", 5, 2)
    damaged = tmp_path / "Split-val" / shard_name(1, 2)
    flip_a_bit(damaged)
    with pytest.raises(DamagedArtifactError, match=f"{damaged} is damaged"):
        read_split("val", [pattern])
