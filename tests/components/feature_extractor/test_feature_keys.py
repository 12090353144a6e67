import numpy as np

from components.feature_extractor.keys import Keys, as_array


def test_keys_are_a_set():
    keys = Keys(["b", "a", "b", "f" * 64])
    assert keys == {"a", "b", "f" * 64}
    assert len(keys) == 3
    assert "a" in keys
    assert "aa" not in keys
    assert 1 not in keys
    assert keys.isdisjoint(["c", ""])
    assert not keys.isdisjoint(["c", "b"])
    assert Keys([]) == set()
    assert "a" not in Keys([])


def test_the_keys_that_another_set_lacks_are_counted():
    keys = Keys(map(str, range(100_000)))
    assert keys.without(Keys(["5", "x", "99999"])) == 99_998
    assert keys.without(keys) == 0
    assert keys.without(Keys([])) == 100_000


def test_keys_keep_their_order_in_an_array():
    assert as_array(["b", "a"]).tolist() == [b"b", b"a"]
    assert as_array([]).dtype == np.dtype("S64")
