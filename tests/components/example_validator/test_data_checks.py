"""The anomalies of the data that are found, with the real TFDV."""

import numpy as np
import pytest
from image_statistics import statistics

from components.example_validator import checks
from components.example_validator.checks import Anomaly
from components.schema_gen import curation
from components.schema_gen.baseline import Baseline

CATS_AND_DOGS = {"cats": 1650, "dogs": 165}


@pytest.fixture
def kept(first_data):
    """A new schema for each test, which may edit it."""
    return Baseline(curation.curate(first_data), first_data, {})


def feature(kept, name):
    return next(found for found in kept.schema.feature if found.name == name)


def found_in(data, kept):
    return checks.find(data, kept)[1]


def test_the_same_data_and_similar_data_have_no_anomaly(first_data, kept):
    assert found_in(first_data, kept) == []
    assert found_in(statistics({"cats": 1630, "dogs": 185}), kept) == []
    assert found_in(statistics({"cats": 300, "dogs": 22}), kept) == []


@pytest.mark.parametrize(
    ("data", "anomaly"),
    [
        (
            {"classes": CATS_AND_DOGS | {"foxes": 12}},
            Anomaly("class_name", "new class", "'foxes' (12 images)", "one of 'cats', 'dogs'"),
        ),
        (
            {"classes": {"cats": 1650}},
            Anomaly(
                "class_name",
                "vanished class",
                "no image of 'dogs'",
                "165 of 1,815 images, as before",
            ),
        ),
        (
            {"classes": {"cats": 1600, "dogs": 400}},
            Anomaly(
                "class_name",
                "changed share",
                "'dogs' 0.2 (400 of 2,000), 'cats' 0.8 (1,600 of 2,000)",
                "'dogs' 0.0909 (165 of 1,815), 'cats' 0.909 (1,650 of 1,815), "
                "with a tolerance of 0.05",
            ),
        ),
        (
            {"label": [1] * 1650 + [0] * 165},
            Anomaly(
                "label",
                "changed share",
                "'1' 0.909 (1,650 of 1,815), '0' 0.0909 (165 of 1,815)",
                "'1' 0.0909 (165 of 1,815), '0' 0.909 (1,650 of 1,815), with a tolerance of 0.05",
            ),
        ),
        (
            {"drop": "lighting"},
            Anomaly(
                "lighting", "vanished column", "no image has a value", "a value for every image"
            ),
        ),
        (
            {"lighting": [""] * 1815},
            Anomaly("lighting", "new value", "(none) (1,815 images)", "one of 'day', 'dim'"),
        ),
        (
            {"breed": ["pug"] * 1815},
            Anomaly(
                "breed",
                "new column",
                "a column not in the schema",
                "one of class_name, label, width, height, lighting",
            ),
        ),
        (
            {"width": np.linspace(3, 4000, 1815).astype(int)},
            Anomaly("width", "out of range", "3 to 4000", "50 to 800"),
        ),
    ],
)
def test_each_difference_is_one_anomaly(kept, data, anomaly):
    assert found_in(statistics(**{"classes": CATS_AND_DOGS, **data}), kept) == [anomaly]


def test_a_vanished_value_of_a_slice_is_a_changed_share(kept):
    (anomaly,) = found_in(statistics(CATS_AND_DOGS, lighting=["day"] * 1815), kept)
    assert (anomaly.feature, anomaly.kind) == ("lighting", "changed share")
    assert "'dim' 0 (0 of 1,815)" in anomaly.found


def test_of_many_new_classes_five_are_named_and_the_others_counted(kept):
    more = {f"fox {number}": 2 for number in range(8)}
    (anomaly,) = found_in(statistics(CATS_AND_DOGS | more), kept)
    assert anomaly.found.count("fox ") == 5
    assert anomaly.found.endswith(", 3 more")


def test_a_new_class_is_accepted_by_adding_it_to_the_schema(kept):
    more = statistics(CATS_AND_DOGS | {"foxes": 500})
    assert [anomaly.kind for anomaly in found_in(more, kept)] == ["new class"]
    feature(kept, "class_name").string_domain.value.append("foxes")
    assert found_in(more, kept) == []


def test_a_vanished_class_is_accepted_by_removing_it_from_the_schema(kept):
    feature(kept, "class_name").string_domain.value.remove("dogs")
    assert found_in(statistics({"cats": 1650}), kept) == []


def test_changed_shares_are_accepted_by_a_greater_threshold_in_the_schema(kept):
    more = statistics({"cats": 1600, "dogs": 400})
    for name in ("class_name", "label"):
        feature(kept, name).drift_comparator.infinity_norm.threshold = 0.15
    assert found_in(more, kept) == []


def test_other_rules_of_tfdv_may_be_added_to_the_schema(kept):
    kept.schema.dataset_constraints.min_examples_count = 10_000
    (anomaly,) = found_in(kept.statistics, kept)
    assert (anomaly.feature, anomaly.kind) == ("all images", "low num examples in dataset")
    assert anomaly.found == "The dataset has 1815 examples, which is fewer than expected."


def test_more_new_classes_than_tfdv_counts_are_one_anomaly_described_by_tfdv(kept):
    data = statistics(CATS_AND_DOGS | {f"class {number}": 2 for number in range(1100)})
    (anomaly,) = found_in(data, kept)
    assert anomaly.kind == "unexpected string values"
