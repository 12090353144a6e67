import numpy as np
import pytest

from components.imbalance_sampler import near_duplicates
from components.imbalance_sampler.near_duplicates import Components, links


def clusters(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Returns, for each hash, the smallest hash of its cluster."""
    distinct, at = np.unique(hashes, return_inverse=True)
    components = Components(len(distinct))
    for left, right in links(distinct, max_distance):
        components.join(left, right)
    return distinct[components.smallest()[at]]


def summary(hashes: np.ndarray, images: int, max_distance: int) -> dict:
    found = clusters(hashes, max_distance) if max_distance else hashes[:0]
    numbers = np.unique(found, return_inverse=True)[1]
    return near_duplicates.summary(numbers, images, max_distance)


def neighbourhoods(count: int) -> np.ndarray:
    """Returns random hashes, of which every third one differs in a few bits from an earlier one."""
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for index in range(2, count, 3):
        flips = rng.choice(64, size=rng.integers(0, 12), replace=False)
        mask = sum(1 << int(bit) for bit in flips)
        hashes[index] = hashes[rng.integers(0, index)] ^ np.uint64(mask)
    return hashes


def brute_force_clusters(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Returns, for each hash, the smallest hash of its cluster, by comparing all pairs."""
    smallest = hashes.copy()
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= max_distance
    while True:
        spread = np.where(near, smallest[None, :], np.uint64(2**64 - 1)).min(axis=1)
        if (spread == smallest).all():
            return smallest
        smallest = spread


@pytest.mark.parametrize("max_distance", [1, 4, 8])
def test_clusters_equal_those_of_comparing_all_pairs(max_distance, monkeypatch):
    # With so few links at once, clusters grow over many joins.
    monkeypatch.setattr(near_duplicates, "_LINKS_AT_ONCE", 20)
    hashes = neighbourhoods(900)
    expected = brute_force_clusters(hashes, max_distance)
    assert 300 < len(np.unique(expected)) < len(np.unique(hashes))
    np.testing.assert_array_equal(clusters(hashes, max_distance), expected)


def test_clusters_do_not_depend_on_the_order():
    hashes = neighbourhoods(300)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(clusters(hashes, 4)[order], clusters(hashes[order], 4))


def test_without_hashes_there_are_no_clusters():
    assert clusters(np.array([], dtype=np.uint64), 4).tolist() == []


def test_the_summary_counts_clusters_of_more_than_one_image():
    hashes = np.array([0, 1, 3, 2**64 - 1, 2**64 - 1, 2**32 - 1], np.uint64)
    assert summary(hashes, 8, 4) == {
        "max_distance": 4,
        "clusters": 2,
        "images": 5,
        "largest": 3,
        "largest_share": 3 / 8,
        "warning": None,
    }


def test_a_cluster_of_more_than_5_percent_of_the_images_gives_a_warning():
    alike = np.zeros(12, np.uint64)
    assert summary(alike, 240, 4)["warning"] is None
    assert summary(alike, 100, 4)["warning"] == (
        "one cluster of near-duplicates contains 12 of 100 images (12%), which all go to one "
        "split; if all images are similar, as those of a fixed camera, set "
        "sampler.near_duplicates: {max_distance: 0}"
    )


def test_at_a_distance_of_0_there_are_no_near_duplicates():
    found = summary(np.zeros(300, np.uint64), 300, 0)
    assert (found["clusters"], found["largest"], found["warning"]) == (0, 0, None)
