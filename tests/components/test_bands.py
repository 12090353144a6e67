import numpy as np
import pytest

from components import bands, names


def test_the_bands_have_a_third_of_the_images_each():
    values = np.random.default_rng(0).permutation(300)
    found = bands.cut(values, bands.bounds(values), names.BRIGHTNESS)
    assert dict(zip(*np.unique(found, return_counts=True), strict=True)) == {
        "dark": 100,
        "medium": 100,
        "bright": 100,
    }
    assert (values[found == "dark"].max(), values[found == "bright"].min()) == (99, 200)


def test_a_bound_belongs_to_the_band_below_it_in_the_precision_of_the_features():
    values = np.array([0.1, 0.2, 0.3])
    ends = bands.bounds(values)
    assert ends == (0.1, 0.2)
    stored = values.astype(np.float32)
    assert bands.cut(stored, ends, names.SHARPNESS).tolist() == ["blurred", "medium", "sharp"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 9, 9, 9, 9, 9], ["small"] + ["large"] * 5),
        ([1, 1, 1, 1, 1, 9], ["small"] * 5 + ["large"]),
        ([1, 4, 4, 4, 4, 9], ["small"] * 5 + ["large"]),
        ([1, 1, 4, 4, 9, 9], ["small"] * 2 + ["medium"] * 2 + ["large"] * 2),
    ],
)
def test_images_of_equal_size_are_in_one_band(values, expected):
    assert bands.cut(values, bands.bounds(values), names.IMAGE_SIZE).tolist() == expected


@pytest.mark.parametrize("values", [[], [7], [7, 7, 7]])
def test_there_are_no_bands_if_all_images_would_be_in_one(values):
    assert bands.bounds(values) is None


def test_bands_are_described_with_their_bounds_and_unit():
    assert bands.described(names.IMAGE_SIZE, (16384, 786432)) == (
        "image_size: small up to 16,384, medium up to 786,432, large above, in pixels"
    )
    assert bands.described(names.BRIGHTNESS, (92.13, 131)).startswith(
        "brightness: dark up to 92.13,"
    )
