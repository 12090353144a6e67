import re

import pytest

from components import slice_columns
from components.evaluator.slice_choice import MAX_COMBINATIONS, choose

KNOWN = {
    "bands": {"brightness": [90.5, 130.25], "sharpness": [400, 800], "image_size": None},
    "values": {"breed": 12, "patient": 4812, "camera": 900, "site": 40},
}


def test_bands_and_columns_that_the_images_have_are_chosen():
    choice = choose([["breed"], ["breed", "brightness"]], ["brightness", "sharpness"], KNOWN)
    assert choice.groups == [["breed"], ["breed", "brightness"], ["brightness"], ["sharpness"]]
    assert choice.bounds == {"brightness": (90.5, 130.25), "sharpness": (400, 800)}
    assert choice.columns == ["breed", "brightness", "class_name", "sharpness"]
    assert choice.left_out == {}


@pytest.mark.parametrize(
    ("slices", "left_out", "reason"),
    [
        (["patient"], "patient", f"4,812 values, and .* at most {slice_columns.MAX_VALUES:,}"),
        (["breed", "patient"], "breed, patient", "patient has 4,812 values"),
        (["camera", "site"], "camera, site", f"36,000 comb.* at most {MAX_COMBINATIONS:,}"),
        (["breed", "image_size"], "breed, image_size", "no bands of image_size"),
    ],
)
def test_slices_are_left_out_with_the_reason_if_they_are_too_many(slices, left_out, reason):
    choice = choose([["breed"], slices], [], KNOWN)
    assert choice.groups == [["breed"]]
    assert re.search(reason, choice.left_out[left_out])


def test_images_of_one_size_have_no_bands_of_their_size():
    choice = choose([], ["image_size"], KNOWN)
    assert (choice.groups, choice.bounds) == ([], {})
    assert choice.left_out == {"image_size": "all images have the same value"}


def test_examples_of_an_older_version_are_sliced_by_their_columns_only():
    choice = choose([["breed"]], ["brightness"], None)
    assert (choice.groups, choice.bounds) == ([["breed"]], {})
    assert "older version" in choice.left_out["brightness"]
