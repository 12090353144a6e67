import subprocess

import pytest

from components.in_progress import owned_name
from components.whole_file import remove_unfinished, whole_file, write_text


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "below" / "a.weights.h5"
    with whole_file(path) as hidden:
        hidden.write_text("new")
        assert not path.exists()
        assert hidden.name.endswith("a.weights.h5")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def interrupted_write(path):
    with whole_file(path) as hidden:
        hidden.write_text("half")
        raise KeyboardInterrupt


def test_the_previous_content_is_kept_after_an_error(tmp_path):
    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_interfere(tmp_path):
    path = tmp_path / "a"
    with whole_file(path) as one:
        one.write_text("one")
        with whole_file(path) as other:
            other.write_text("other")
    assert path.read_text() == "one"


def test_what_killed_writers_of_a_file_have_left_is_removed_and_nothing_else(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = tmp_path / "a[1].json"
    kept = [tmp_path / f".{owned_name(gone.pid)}-b.json", tmp_path / f".{owned_name()}-{path.name}"]
    for each in (*kept, left := tmp_path / f".{owned_name(gone.pid)}-{path.name}"):
        each.touch()
    remove_unfinished(path)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted(kept)
