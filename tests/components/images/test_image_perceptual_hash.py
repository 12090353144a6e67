import io

import numpy as np
import pytest
from pictures_on_disk import PHOTOGRAPHS, encoded, picture
from PIL import Image, ImageEnhance

from components.images.perceptual_hash import (
    MAX_DISTANCE,
    as_hex,
    cluster,
    perceptual_hash,
)
from components.images.reader import read_image


def photo_like(seed: int) -> Image.Image:
    """A picture without the extremes that an edit would cut off."""
    return ImageEnhance.Contrast(picture(seed, size=(320, 240))).enhance(0.7)


def again(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, quality=quality)))


EDITS = {
    "poor JPEG": lambda image: again(image, 20),
    "half the size": lambda image: image.resize((160, 120), Image.Resampling.LANCZOS),
    "twice the size": lambda image: image.resize((640, 480), Image.Resampling.BICUBIC),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


@pytest.mark.parametrize("edit", EDITS)
def test_near_duplicates_share_the_hash_of_their_cluster(edit):
    pairs = [(image, EDITS[edit](image)) for image in map(photo_like, range(50))]
    hashes = np.array([list(map(perceptual_hash, pair)) for pair in pairs], dtype=np.uint64)
    clusters = cluster(hashes.ravel()).reshape(-1, 2)
    assert (clusters[:, 0] == clusters[:, 1]).sum() >= 48
    assert len(np.unique(clusters[:, 0])) == 50


def test_other_pictures_have_clusters_of_their_own():
    hashes = np.array([perceptual_hash(picture(seed)) for seed in range(200)], dtype=np.uint64)
    assert len(np.unique(cluster(hashes))) == 200


def test_a_picture_of_one_colour_has_hash_0():
    colours = ["black", "white", "#123456"]
    assert {perceptual_hash(Image.new("RGB", (99, 77), colour)) for colour in colours} == {0}


def test_the_hash_of_a_picture_stays_what_it_is():
    gradient = Image.radial_gradient("L")
    assert as_hex(perceptual_hash(gradient)) == "6e919966a6dc9962"
    assert as_hex(0) == "0" * 16


def neighbourhoods(count: int) -> np.ndarray:
    """Hashes at random, each third one within a few bits of one before it."""
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for index in range(2, count, 3):
        flips = rng.choice(64, size=rng.integers(0, 8), replace=False)
        mask = sum(1 << int(bit) for bit in flips)
        hashes[index] = hashes[rng.integers(0, index)] ^ np.uint64(mask)
    return hashes


def linked_by_hand(hashes: np.ndarray) -> np.ndarray:
    smallest = hashes.copy()
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= MAX_DISTANCE
    while True:
        spread = np.where(near, smallest[None, :], np.uint64(2**64 - 1)).min(axis=1)
        if (spread == smallest).all():
            return smallest
        smallest = spread


def test_clusters_are_those_of_comparing_all_with_all():
    hashes = neighbourhoods(900)
    expected = linked_by_hand(hashes)
    assert 300 < len(np.unique(expected)) < len(np.unique(hashes))
    np.testing.assert_array_equal(cluster(hashes), expected)


def test_clusters_do_not_depend_on_the_order():
    hashes = neighbourhoods(300)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(cluster(hashes)[order], cluster(hashes[order]))


def test_no_hashes_have_no_clusters():
    assert cluster(np.array([], dtype=np.uint64)).tolist() == []


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no shared photographs beside the project")
def test_of_real_photographs_only_the_near_duplicates_share_a_hash():
    paths = sorted(PHOTOGRAPHS.glob("*/*.jpg"))
    hashes = [read_image(path.read_bytes()).perceptual_hash for path in paths]
    clusters = cluster(np.array(hashes, dtype=np.uint64))
    shared = {}
    for path, value in zip(paths, clusters.tolist(), strict=True):
        shared.setdefault(value, []).append(path.name)
    assert sorted(names for names in shared.values() if len(names) > 1) == [
        ["dog.1273.jpg", "dog.980.jpg"],
        ["dog.180.jpg", "dog.74.jpg"],
    ]
