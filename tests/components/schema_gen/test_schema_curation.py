"""The rules that the schema of the first data has for later data."""

import numpy as np
import pytest
from image_statistics import statistics

from components.schema_gen.curation import SHARE_THRESHOLD, curate


def features(schema):
    return {feature.name: feature for feature in schema.feature}


@pytest.fixture(scope="module")
def curated(first_data):
    return features(curate(first_data))


def test_classes_and_slice_values_are_those_in_the_data(curated):
    assert list(curated["class_name"].string_domain.value) == ["cats", "dogs"]
    assert list(curated["lighting"].string_domain.value) == ["day", "dim"]


def test_a_label_is_0_or_1_even_if_all_images_are_of_one_side(curated):
    for label in (curated["label"], features(curate(statistics({"cats": 9})))["label"]):
        assert (label.int_domain.min, label.int_domain.max) == (0, 1)


def test_sides_may_range_from_half_the_smallest_to_twice_the_largest(curated):
    for side in ("width", "height"):
        assert (curated[side].int_domain.min, curated[side].int_domain.max) == (50, 800)
    tiny = features(curate(statistics({"cats": 2}, width=[1, 1])))["width"].int_domain
    assert (tiny.min, tiny.max) == (1, 2)


def test_every_image_must_have_every_column(curated):
    assert {feature.presence.min_fraction for feature in curated.values()} == {1.0}


def test_shares_of_classes_labels_and_slices_have_a_threshold(curated):
    thresholds = {
        name: feature.drift_comparator.infinity_norm.threshold
        for name, feature in curated.items()
        if feature.HasField("drift_comparator")
    }
    assert thresholds == dict.fromkeys(("class_name", "label", "lighting"), SHARE_THRESHOLD)


@pytest.mark.parametrize(
    ("values", "is_closed", "has_threshold"),
    [
        (np.resize([f"camera {n}" for n in range(40)], 600), True, True),
        ([f"patient {n}" for n in range(600)], False, False),
        # One value occurs once, so the next image may well have a new one.
        (["a"] * 599 + ["b"], False, True),
        (np.resize([f"site {n}" for n in range(150)], 600), False, False),
    ],
)
def test_a_column_is_closed_if_no_new_value_is_likely(values, is_closed, has_threshold):
    column = features(curate(statistics({"cats": 600}, column=values)))["column"]
    assert column.HasField("string_domain") == is_closed
    assert column.HasField("drift_comparator") == has_threshold


def test_all_of_150_classes_with_one_image_each_are_in_the_schema():
    classes = {f"class {number}": 1 for number in range(150)}
    found = features(curate(statistics(classes)))["class_name"]
    assert list(found.string_domain.value) == sorted(classes)


def test_a_column_with_more_values_than_tfdv_counts_is_open():
    classes = {f"class {number}": 1 for number in range(1100)}
    found = features(curate(statistics(classes)))["class_name"]
    assert not found.HasField("string_domain")
    assert not found.HasField("drift_comparator")
