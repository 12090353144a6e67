from pathlib import Path

import pytest
import tensorflow as tf

from components.calibrator import shared_variables


class Doubled(tf.Module):
    def __init__(self, value: float, name: str = "value"):
        super().__init__()
        setattr(self, name, tf.Variable(value))


@pytest.fixture
def saved(tmp_path):
    """Saves a module; returns its folder."""

    def save(folder: str, *arguments) -> Path:
        tf.saved_model.save(Doubled(*arguments), str(tmp_path / folder))
        return tmp_path / folder

    return save


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_equal_variables_are_the_same_file_until_one_is_deleted(saved):
    one, other = saved("one", 1.5), saved("other", 1.5)
    graph = (other / "saved_model.pb").read_bytes()
    assert shared_variables.share(str(one), str(other))
    assert (other / "saved_model.pb").read_bytes() == graph
    for name in ("variables.index", "variables.data-00000-of-00001"):
        assert (other / "variables" / name).samefile(one / "variables" / name)
        (one / "variables" / name).unlink()
    assert tf.saved_model.load(str(other)).value.numpy() == 1.5


@pytest.mark.parametrize("different", [(2.5,), (1.5, "another")])
def test_variables_with_other_names_or_values_are_kept(saved, different):
    one, other = saved("one", 1.5), saved("other", *different)
    before = _content(other)
    assert not shared_variables.share(str(one), str(other))
    assert _content(other) == before


def test_without_links_in_the_file_system_the_copy_remains(saved):
    def link(source: Path, target: Path) -> None:
        raise OSError("Operation not permitted")

    one, other = saved("one", 1.5), saved("other", 1.5)
    before = _content(other)
    assert not shared_variables.share(str(one), str(other), link)
    assert _content(other) == before


def test_a_folder_that_is_not_local_is_left_alone(saved):
    assert not shared_variables.share("s3://bucket/one", str(saved("other", 1.5)))
