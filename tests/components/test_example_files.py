"""An artifact's list of files: what is lost or damaged is named by every way to read it."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from damage import empty, flip_a_bit, halve
from listed import list_files

from components import example_files
from components.artifact_files import DamagedArtifactError
from components.example_files import shard_name, split_shards


def write_shard(path: Path, records: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.fixture
def uri(tmp_path) -> Path:
    """Two splits of two shards, with two and one records of 20 bytes."""
    for split in ("all", "rest"):
        for shard, count in enumerate((2, 1)):
            path = tmp_path / f"Split-{split}" / shard_name(shard, 2)
            write_shard(path, [bytes([65 + index]) * 20 for index in range(count)])
    list_files(tmp_path)
    return tmp_path


def shard(uri: Path, index: int = 0) -> Path:
    return uri / "Split-all" / shard_name(index, 2)


def check_digests(uri: Path) -> None:
    listed = json.loads((uri / "files.json").read_text())
    (uri / "files.json").write_text(json.dumps(listed | {"check_digests": True}))


def test_the_list_has_the_count_the_size_and_the_digest_of_each_file(uri):
    listed = json.loads((uri / "files.json").read_text())
    content = shard(uri).read_bytes()
    assert len(listed["files"]) == 4
    assert listed["files"]["Split-all/data_tfrecord-00000-of-00002"] == {
        "records": 2,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert [each.records for each in split_shards(str(uri), "all")] == [2, 1]
    assert [each.path for each in split_shards(str(uri), "all")] == [
        str(shard(uri, 0)),
        str(shard(uri, 1)),
    ]


def lose(uri: Path) -> None:
    shard(uri, 1).unlink()


def lose_all(uri: Path) -> None:
    shutil.rmtree(uri / "Split-all")


def lose_a_record(uri: Path) -> None:
    content = shard(uri).read_bytes()
    shard(uri).write_bytes(content[: len(content) // 2])  # at the end of the first record
    assert sum(1 for _ in tf.data.TFRecordDataset([str(shard(uri))])) == 1


def renumber(uri: Path) -> None:
    shard(uri, 1).rename(uri / "Split-all" / shard_name(1, 3))


def add(uri: Path) -> None:
    write_shard(uri / "Split-all" / shard_name(2, 3), [b"?"])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lose, "00001-of-00002 is missing, with 1 records"),
        (lose_all, "00000-of-00002 is missing, with 2 records; .*00001-of-00002 is missing"),
        (lose_a_record, r"00000-of-00002 must have 72 bytes\. Received: 36"),
        (renumber, "00001-of-00002 is missing, with 1 records"),
        (add, "must have the shards .*Received: .*00002-of-00003"),
        (lambda uri: empty(shard(uri)), r"00000-of-00002 must have 72 bytes\. Received: 0"),
        (lambda uri: (uri / "files.json").unlink(), r"its list of files, files.json, is missing"),
        (lambda uri: empty(uri / "files.json"), r"is damaged: files\.json can't be read"),
        (lambda uri: halve(uri / "files.json"), r"is damaged: files\.json can't be read"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(uri, damage, named):
    damage(uri)
    with pytest.raises(DamagedArtifactError, match=f"{uri}.*{named}.*--no-cache"):
        split_shards(str(uri), "all")


def test_a_missing_file_of_another_split_does_not_matter(uri):
    shutil.rmtree(uri / "Split-rest")
    assert len(split_shards(str(uri), "all")) == 2


def test_a_damaged_record_is_an_error_that_names_the_file(uri):
    flip_a_bit(shard(uri))
    with pytest.raises(DamagedArtifactError, match=f"{shard(uri)} is damaged: .*corrupted record"):
        list(example_files.record_batches(str(shard(uri)), 8))


def test_another_number_of_records_is_an_error(uri):
    first, _ = split_shards(str(uri), "all")
    first.check_count(2)
    with pytest.raises(DamagedArtifactError, match=r"must have 2 records\. Received: 1"):
        first.check_count(1)


def test_digests_are_checked_only_if_the_list_says_so(uri):
    write_shard(shard(uri), [b"x" * 20, b"y" * 20])
    for each in split_shards(str(uri), "all"):
        each.check_digest()
    check_digests(uri)
    first, second = split_shards(str(uri), "all")
    second.check_digest()
    with pytest.raises(DamagedArtifactError, match=rf"{shard(uri)} .*must have the SHA-256"):
        first.check_digest()
