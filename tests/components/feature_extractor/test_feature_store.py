import os
import subprocess
import time

import numpy as np
import pytest
from damage import DAMAGES, flip_a_bit

from components.feature_extractor.store import FeatureStore
from components.in_progress import owned_name


def _features(*values: float) -> np.ndarray:
    return np.array(values, np.float16)[:, None] * np.ones((1, 3), np.float16)


def test_added_features_are_found_by_image(tmp_path):
    store = FeatureStore(tmp_path / "store")
    assert store.image_ids() == set()
    store.add(["a", "b"], _features(1, 2))
    store.add(["c"], _features(3))
    reader = store.reader()
    assert store.image_ids() == {"a", "b", "c"}
    np.testing.assert_array_equal(reader["b"], [2, 2, 2])
    np.testing.assert_array_equal(reader["c"], [3, 3, 3])
    assert reader["a"].dtype == np.float16


def test_features_are_read_from_disk_only_when_requested(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a"], _features(1))
    assert isinstance(store.reader()["a"], np.memmap)


def test_few_parts_are_open_at_a_time(tmp_path):
    store = FeatureStore(tmp_path / "store")
    for number in range(300):
        store.add([f"{number}"], _features(number))
    reader, before = store.reader(), _open_files()
    for number in range(300):
        np.testing.assert_array_equal(reader[f"{number}"], [number] * 3)
    assert _open_files() - before <= 128


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_of_an_image_in_two_parts_one_is_read(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a", "b"], _features(1, 2))
    store.add(["b", "c"], _features(2, 3))
    reader = store.reader()
    np.testing.assert_array_equal([reader[key][0] for key in "abc"], [1, 2, 3])
    assert len(store.image_ids()) == 3
    with pytest.raises(KeyError, match="bb"):
        reader["bb"]


def test_images_are_counted_as_they_are_added(tmp_path):
    store = FeatureStore(tmp_path / "store")
    counts = [store.count()]
    for number in range(2):
        store.add([f"{number}", f"{number}x"], _features(1, 2))
        counts.append(store.count())
    assert counts == [0, 2, 4]


def test_an_incomplete_part_is_ignored(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a"], _features(1))
    (listing,) = store.folder.glob("*.ids")
    listing.unlink()
    assert store.image_ids() == set()
    with pytest.raises(KeyError):
        store.reader()["a"]


def test_a_part_without_all_rows_is_ignored(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a", "b"], _features(1, 2))
    store.add(["c"], _features(3))
    for part in store.folder.glob("*.npy"):
        if len(np.load(part)) == 2:
            part.write_bytes(part.read_bytes()[:-40])
    assert store.image_ids() == {"c"}
    store.add(["a", "b"], _features(1, 2))
    np.testing.assert_array_equal(store.reader()["b"], [2, 2, 2])


def test_a_listing_that_is_being_written_is_ignored(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a"], _features(1))
    (listing,) = store.folder.glob("*.ids")
    listing.rename(listing.with_name(f".0-{listing.name}"))
    assert store.image_ids() == set()


@pytest.mark.parametrize("suffix", [".npy", ".ids"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_removed_with_a_warning(tmp_path, caplog, suffix, damage):
    store = FeatureStore(tmp_path / "store")
    store.add(["a", "b"], _features(1, 2))
    (damaged,) = store.folder.glob(f"*{suffix}")
    store.add(["c"], _features(3))
    damage(damaged)
    store.discard_damaged({"a", "c"})
    assert store.image_ids() == {"c"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(damaged) in caplog.text
    store.add(["a", "b"], _features(1, 2))
    store.discard_damaged({"a", "c"})
    np.testing.assert_array_equal(store.reader()["b"], [2, 2, 2])


def test_only_parts_with_a_requested_image_are_read(tmp_path, caplog):
    store = FeatureStore(tmp_path / "store")
    store.add(["a"], _features(1))
    for part in store.folder.glob("*.npy"):
        flip_a_bit(part)
    store.discard_damaged({"b"})
    assert not caplog.records


def test_files_of_killed_writers_are_removed_and_those_of_other_machines_after_a_day(tmp_path):
    store = FeatureStore(tmp_path / "store")
    store.add(["a"], _features(1))
    gone = subprocess.Popen(["true"])
    gone.wait()
    (store.folder / f".{owned_name(gone.pid)}-part.npy").touch()
    for name, hours in (("old", 25), ("new", 1)):
        hidden = store.folder / f".{name}-part.npy"
        hidden.touch()
        os.utime(hidden, times=(time.time() - 3600 * hours,) * 2)
    store.discard_damaged(set())
    assert [path.name for path in store.folder.glob(".*")] == [".new-part.npy"]


def test_adding_the_same_features_twice_leaves_one_part(tmp_path):
    store = FeatureStore(tmp_path / "store")
    for _ in range(2):
        store.add(["a", "b"], _features(1, 2))
    assert len(list(store.folder.iterdir())) == 2
