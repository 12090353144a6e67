import numpy as np
import pytest

from components.imbalance_sampler import near_duplicates
from components.imbalance_sampler.near_duplicates import Components, links


def clusters(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """For each hash the smallest of its cluster."""
    distinct, at = np.unique(hashes, return_inverse=True)
    components = Components(len(distinct))
    for left, right in links(distinct, max_distance):
        components.join(left, right)
    return distinct[components.smallest()[at]]


def account(hashes: np.ndarray, images: int, max_distance: int) -> dict:
    found = clusters(hashes, max_distance) if max_distance else hashes[:0]
    numbers = np.unique(found, return_inverse=True)[1]
    return near_duplicates.account(numbers, images, max_distance)


def neighbourhoods(count: int) -> np.ndarray:
    """Hashes at random, each third one within a few bits of one before it."""
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for index in range(2, count, 3):
        flips = rng.choice(64, size=rng.integers(0, 12), replace=False)
        mask = sum(1 << int(bit) for bit in flips)
        hashes[index] = hashes[rng.integers(0, index)] ^ np.uint64(mask)
    return hashes


def linked_by_hand(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """The smallest hash of each one's cluster, by comparing all with all."""
    smallest = hashes.copy()
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= max_distance
    while True:
        spread = np.where(near, smallest[None, :], np.uint64(2**64 - 1)).min(axis=1)
        if (spread == smallest).all():
            return smallest
        smallest = spread


@pytest.mark.parametrize("max_distance", [1, 4, 8])
def test_clusters_are_those_of_comparing_all_with_all(max_distance, monkeypatch):
    # So few links at once that clusters grow over many joins.
    monkeypatch.setattr(near_duplicates, "_LINKS_AT_ONCE", 20)
    hashes = neighbourhoods(900)
    expected = linked_by_hand(hashes, max_distance)
    assert 300 < len(np.unique(expected)) < len(np.unique(hashes))
    np.testing.assert_array_equal(clusters(hashes, max_distance), expected)


def test_clusters_do_not_depend_on_the_order():
    hashes = neighbourhoods(300)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(clusters(hashes, 4)[order], clusters(hashes[order], 4))


def test_no_hashes_have_no_clusters():
    assert clusters(np.array([], dtype=np.uint64), 4).tolist() == []


def test_the_account_counts_clusters_of_more_than_one_image():
    hashes = np.array([0, 1, 3, 2**64 - 1, 2**64 - 1, 2**32 - 1], np.uint64)
    assert account(hashes, 8, 4) == {
        "max_distance": 4,
        "clusters": 2,
        "images": 5,
        "largest": 3,
        "largest_share": 3 / 8,
        "warning": None,
    }


def test_a_cluster_that_holds_more_than_a_few_per_cent_is_warned_of():
    alike = np.zeros(12, np.uint64)
    assert account(alike, 240, 4)["warning"] is None
    assert account(alike, 100, 4)["warning"] == (
        "one cluster of near-duplicates holds 12 of 100 images (12%), which stay in one split; if "
        "a fixed camera makes all pictures alike, set sampler.near_duplicates: {max_distance: 0}"
    )


def test_at_a_distance_of_0_there_are_no_near_duplicates():
    found = account(np.zeros(300, np.uint64), 300, 0)
    assert (found["clusters"], found["largest"], found["warning"]) == (0, 0, None)
