"""Files of bundles: whole or not there, whatever number of tries writes them."""

import pytest

from components.bundle_file import bundle_file


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def fail(path: str, scratch: str) -> None:
    with bundle_file(path, scratch) as hidden:
        write(hidden, "half")
        raise OSError("disk")


def test_two_tries_at_the_same_time_write_the_file_once(tmp_path):
    target = tmp_path / "shard"
    with bundle_file(str(target)) as first, bundle_file(str(target)) as second:
        write(first, "whole")
        write(second, "whole")
        assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]
    assert target.read_text() == "whole"


def test_a_try_that_fails_leaves_the_file_of_the_one_before(tmp_path):
    (tmp_path / "scratch").mkdir()
    target, scratch = tmp_path / "shard", tmp_path / "scratch"
    target.write_text("of the first try")
    with pytest.raises(OSError, match="disk"):
        fail(str(target), str(scratch))
    assert target.read_text() == "of the first try"
    assert not list(scratch.iterdir())
