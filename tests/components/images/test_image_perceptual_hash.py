import io

import numpy as np
import pytest
from pictures_on_disk import PHOTOGRAPHS, encoded, picture
from PIL import Image, ImageEnhance

from components.images.perceptual_hash import as_hex, perceptual_hash
from components.images.reader import read_image

NEAR = 4
"""Maximum number of bits in which the hashes of near-duplicates differ."""


def photo_like(seed: int) -> Image.Image:
    """A picture without extreme values, which an edit would clip."""
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


def distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Numbers of bits in which each hash differs from each of the others."""
    return np.bitwise_count(hashes[:, None] ^ others[None, :])


@pytest.mark.parametrize("edit", EDITS)
def test_the_hash_of_a_near_duplicate_differs_in_a_few_bits(edit):
    pairs = [(image, EDITS[edit](image)) for image in map(photo_like, range(50))]
    hashes = np.array([list(map(perceptual_hash, pair)) for pair in pairs], dtype=np.uint64)
    near = distances(hashes[:, 0], hashes[:, 1]) <= NEAR
    assert near.diagonal().sum() >= 48
    assert not near[~np.eye(50, dtype=bool)].any()


def test_the_hashes_of_different_pictures_differ_in_many_bits():
    hashes = np.array([perceptual_hash(picture(seed)) for seed in range(200)], dtype=np.uint64)
    assert distances(hashes, hashes)[~np.eye(200, dtype=bool)].min() > NEAR


def test_a_picture_of_one_colour_has_hash_0():
    colours = ["black", "white", "#123456"]
    assert {perceptual_hash(Image.new("RGB", (99, 77), colour)) for colour in colours} == {0}


def test_the_hash_of_a_picture_never_changes():
    gradient = Image.radial_gradient("L")
    assert as_hex(perceptual_hash(gradient)) == "6e919966a6dc9962"
    assert as_hex(0) == "0" * 16


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no shared photographs next to the project")
def test_among_real_photographs_only_near_duplicates_have_similar_hashes():
    paths = sorted(PHOTOGRAPHS.glob("*/*.jpg"))
    hashes = [read_image(path.read_bytes()).perceptual_hash for path in paths]
    values = np.array(hashes, dtype=np.uint64)
    near = np.argwhere(np.triu(distances(values, values) <= NEAR, k=1))
    assert sorted([paths[left].name, paths[right].name] for left, right in near) == [
        ["dog.1273.jpg", "dog.980.jpg"],
        ["dog.180.jpg", "dog.74.jpg"],
    ]
