import pytest

from components.whole_file import whole_file, write_text


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
