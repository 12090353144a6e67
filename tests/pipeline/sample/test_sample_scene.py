import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.sample.breeds import BREEDS, Breed
from pipeline.sample.scene import DAY, NIGHT, draw_scene

PROJECT = Path(__file__).resolve().parents[3]
ALL_BREEDS = [breed for breeds in BREEDS.values() for breed in breeds]


def drawn(breed: Breed, seed: int, lighting: str = DAY, side: int = 64) -> np.ndarray:
    return np.asarray(draw_scene(breed, lighting, side, np.random.default_rng(seed)))


@pytest.mark.parametrize("label", ["cats", "dogs"])
def test_shares_of_a_class_add_up_to_one(label: str) -> None:
    assert sum(breed.share for breed in BREEDS[label]) == pytest.approx(1.0)


@pytest.mark.parametrize("breed", ALL_BREEDS, ids=lambda breed: breed.name)
def test_every_breed_is_drawn_in_every_light(breed: Breed) -> None:
    for lighting in (DAY, NIGHT):
        for seed in range(12):
            picture = drawn(breed, seed, lighting)
            assert picture.shape == (64, 64, 3)
            assert picture.std() > 5


def test_same_state_draws_the_same_picture() -> None:
    breed = BREEDS["dogs"][0]
    assert np.array_equal(drawn(breed, 3), drawn(breed, 3))
    assert not np.array_equal(drawn(breed, 3), drawn(breed, 4))


def test_breeds_differ_for_the_same_random_state() -> None:
    retriever, beagle, *_ = BREEDS["dogs"]
    assert not np.array_equal(drawn(retriever, 3), drawn(beagle, 3))


def test_drawing_imports_neither_tensorflow_nor_beam() -> None:
    code = (
        "import sys; import pipeline.sample.dataset; "
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
