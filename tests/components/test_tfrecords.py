import hashlib
import os
import random
from unittest import mock

import pytest
import tensorflow as tf

from components import tfrecords
from components.artifact_files import DamagedArtifactError, Shard

RECORDS = [b"", b"one", os.urandom(300_000), b"\x00" * 20]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def test_the_records_are_those_that_tensorflow_wrote(path):
    assert list(tfrecords.records(str(path))) == RECORDS


def test_a_file_without_records_has_none(tmp_path):
    tf.io.TFRecordWriter(str(tmp_path / "empty")).close()
    assert list(tfrecords.records(str(tmp_path / "empty"))) == []


@pytest.mark.parametrize("at", [0, 9, 16 + 12, 16 + 12 + 3])
def test_a_changed_byte_of_length_record_or_checksum_is_an_error(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedArtifactError, match=rf"{path} is damaged: corrupted record at \d+"):
        list(tfrecords.records(str(path)))


@pytest.mark.parametrize("lost", [1, 4, 20, 24, 30])
def test_a_file_that_was_cut_off_is_an_error(path, lost):
    content = path.read_bytes()
    path.write_bytes(content[:-lost])
    with pytest.raises(DamagedArtifactError, match=rf"{path} is damaged: truncated record at \d+"):
        list(tfrecords.records(str(path)))


def test_a_file_of_records_is_written_as_tensorflow_does(tmp_path):
    rng = random.Random(0)
    records = [rng.randbytes(size) for size in (0, 1, 200, 300_000, 20_000)]
    ours, other = str(tmp_path / "ours"), str(tmp_path / "other")
    with tfrecords.RecordWriter(ours) as writer:
        for record in records:
            writer.write(record)
    with tf.io.TFRecordWriter(other) as tensorflows:
        for record in records:
            tensorflows.write(record)
    content = (tmp_path / "ours").read_bytes()
    assert content == (tmp_path / "other").read_bytes()
    entry = writer.described("ours")
    assert (entry.records, entry.size) == (5, len(content))
    assert entry.sha256 == hashlib.sha256(content).hexdigest()


def test_a_file_whose_last_records_can_not_be_written_knows_that_it_is_incomplete(monkeypatch):
    file = mock.MagicMock()
    file.write.side_effect = OSError("no space left")
    monkeypatch.setattr(tfrecords.file_io, "open_file", lambda *_: file)
    with pytest.raises(OSError, match="no space left"), tfrecords.RecordWriter("file") as writer:
        writer.write(b"one")
    assert file.__exit__.call_args.args[0] is OSError


def _shard(path, *, records=4, sha256=None):
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if sha256 is None else sha256
    return Shard(str(path), records, digest)


def test_a_file_is_read_and_checked_as_a_whole_at_once(path, monkeypatch):
    opened, open_file = [], tfrecords.file_io.open_file
    shard = _shard(path)

    def noted(*arguments):
        opened.append(arguments)
        return open_file(*arguments)

    monkeypatch.setattr(tfrecords.file_io, "open_file", noted)
    assert list(tfrecords.checked_records(shard)) == RECORDS
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"sha256": "0" * 64}, "must have the SHA-256 0+. Received: "), ({"records": 5}, "5 records")],
)
def test_a_file_with_another_digest_or_number_of_records_is_an_error(path, change, message):
    with pytest.raises(DamagedArtifactError, match=message):
        list(tfrecords.checked_records(_shard(path, **change)))


def test_the_digest_of_a_file_is_not_checked_if_its_list_has_none(path):
    assert list(tfrecords.checked_records(_shard(path, sha256=""))) == RECORDS
