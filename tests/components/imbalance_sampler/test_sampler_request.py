import re
import subprocess
import sys
from fractions import Fraction

import pytest

from components.imbalance_sampler.census import Census, prevalence, validate_prevalence
from components.imbalance_sampler.request import (
    ClassSize,
    SamplingError,
    drawing_order,
    parse_request,
    validate_splits,
)

BOTH = {"cats": 10, "dogs": 1}
CENSUS = Census.of({("cats", 0): 300, ("birds", 0): 100, ("dogs", 1): 100})


def refused(message: str):
    return pytest.raises(SamplingError, match=re.escape(message))


def sizes(splits, split="train"):
    found = {request.name: request.sizes for request in parse_request(splits).splits}[split]
    return {size.key: size.amount for size in found}


def test_splits_are_drawn_test_first_and_train_last_in_any_order_of_the_settings():
    assert drawing_order(["train", "b", "val", "a", "test"]) == ["test", "val", "a", "b", "train"]


def test_a_whole_number_is_a_count_and_a_decimal_is_a_share():
    request = parse_request({"train": {"cats": 1, "dogs": 1.0}})
    assert request.splits[0].sizes == (ClassSize("cats", 1), ClassSize("dogs", Fraction(1)))


def test_a_fraction_means_its_decimal_form():
    assert sizes({"train": {"cats": 0.1, "dogs": 1e-05}}) == {
        "cats": Fraction(1, 10),
        "dogs": Fraction(1, 100_000),
    }


@pytest.mark.parametrize(
    ("total", "ratio", "counts"),
    [
        (1100, {"cats": 10, "dogs": 1}, {"cats": 1000, "dogs": 100}),
        (100, {"a": 1, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}),
        (10, {"cats": 2.5, "dogs": 0.5}, {"cats": 8, "dogs": 2}),
        (7, {"cats": 0.1, "dogs": 0.2}, {"cats": 2, "dogs": 5}),
    ],
)
def test_a_ratio_divides_the_total_by_largest_remainders(total, ratio, counts):
    assert sizes({"train": {"total": total, "ratio": ratio}}) == counts


@pytest.mark.parametrize("size", [-1, True, 1.5, 0.0, -0.1, "10", None, float("nan")])
def test_a_size_that_is_neither_count_nor_share_is_refused(size):
    with refused("split 'train', class 'cats': a size must be a whole number of images, 0 or"):
        parse_request({"train": {"cats": size, "dogs": 1}})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, "at least one split"),
        ({"all": BOTH}, "must not be 'all' and 'rest', which are reserved"),
        ({"rest": BOTH}, "which are reserved. Received: 'rest'"),
        ({"../up": BOTH}, "Received: '../up'"),
        ({3: BOTH}, "Received: 3"),
        ({"train": 5}, "split 'train' must have sizes by class"),
        ({"train": {}}, "split 'train' must have sizes by class"),
        ({"train": {"total": 5}}, "must have both 'total' and 'ratio'"),
        ({"train": {"total": 0, "ratio": BOTH}}, "total must be a whole number above 0"),
        ({"train": {"total": 5, "ratio": {}}}, "ratio must have a weight for each class"),
        ({"train": {"total": 5, "ratio": {"cats": 0}}}, "weight of 'cats' must be a number above"),
        (
            {"train": {"cats": 0.7, "dogs": 0.5}, "test": {"cats": 0.5, "dogs": 0.5}},
            "the splits' fractions of 'cats' must add up to 1.0 or less. Received: a total of 1.2",
        ),
    ],
)
def test_malformed_splits_are_refused_with_the_received_value(splits, message):
    with refused(message):
        parse_request(splits)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"cats": 10}, "split 'val' has no positive image; request at least 1 of 'dogs'"),
        ({"cats": 10, "dogs": 0}, "split 'val' has no positive image"),
        ({"dogs": 10}, "split 'val' has no negative image"),
        ({"total": 5, "ratio": {"cats": 99, "dogs": 1}}, "split 'val' has no positive image"),
        ({"positive": 5, "dogs": 1, "cats": 9}, "Received: 'positive' and 'dogs'"),
        ({"negative": 5, "birds": 1, "dogs": 9}, "must have either side 'negative'"),
        ({"cats": 5, "dgos": 1}, "Received: 'dgos' (did you mean 'dogs'?)"),
    ],
)
def test_a_split_that_no_data_could_satisfy_is_refused_early(sizes, message):
    splits = {"train": BOTH, "val": sizes}
    with refused(message):
        validate_splits(splits, positive_class="dogs", classes=["birds", "cats", "dogs"])


def test_a_split_may_name_one_side_and_the_classes_of_the_other():
    validate_splits({"train": {"negative": 10, "dogs": 1}}, positive_class="dogs")
    validate_splits({"train": {"cats": 5, "birds": 5, "positive": 1}}, positive_class="dogs")


def test_an_unknown_assignment_is_refused():
    with refused("assignment must be one of 'exact' and 'stable'. Received: 'random'"):
        parse_request({"train": BOTH}, assignment="random")


def test_stable_assignment_requires_proportions_that_do_not_depend_on_the_data():
    with refused("must all be whole numbers, or all be fractions"):
        parse_request({"train": {"cats": 0.5, "dogs": 5}}, assignment="stable")
    apart = {"train": {"cats": 0.2, "dogs": 0.7}, "test": {"cats": 0.6, "dogs": 0.3}}
    with refused("must add up to 1.0 or less"):
        parse_request(apart, assignment="stable")


def test_the_early_checks_import_neither_tensorflow_nor_beam():
    code = (
        "import sys; from components.imbalance_sampler import census, request; "
        "print(sorted({'tensorflow', 'tfx', 'apache_beam', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prevalence_is_the_positive_share_of_the_weights_or_of_the_data():
    assert prevalence({"cats": 9, "birds": 1, "dogs": 1}, CENSUS) == pytest.approx(1 / 11)
    assert prevalence({"negative": 99, "positive": 1}, CENSUS) == pytest.approx(0.01)
    assert prevalence(None, CENSUS) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"cats": 10, "dogs": 1}, "Received: 0 weights for 'birds'"),
        ({"negative": 10, "cats": 1, "dogs": 1}, "Received: 2 weights for 'cats'"),
        ({"negative": 10, "dgos": 1, "dogs": 1}, "did you mean 'dogs'?"),
        ({"cats": 10, "birds": 1}, "must have weights for 'dogs' and for the other classes"),
        ({"dogs": 1}, "must have weights for 'dogs' and for the other classes"),
        ({"cats": -1, "dogs": 1}, "the weight of 'cats' must be a number above 0"),
    ],
)
def test_prevalence_must_have_one_weight_per_class(weights, message):
    with refused(message):
        prevalence(weights, CENSUS)


def test_a_one_sided_prevalence_is_refused_without_data():
    with refused("must have weights for 'dogs' and for the other classes"):
        validate_prevalence({"cats": 10}, positive_class="dogs")
    validate_prevalence({"cats": 10, "dogs": 1}, positive_class="dogs")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "contain no image"),
        ({("cats", 0): 1, ("cats", 1): 1}, "class 'cats' has images of both labels"),
        ({("cats", 2): 1}, "class 'cats': the label must be 0 or 1. Received: 2"),
    ],
)
def test_a_census_that_is_not_binary_is_refused(counts, message):
    with refused(message):
        Census.of(counts)


def test_a_class_may_have_the_name_of_its_side_if_it_is_the_only_one():
    census = Census.of({("negative", 0): 30, ("positive", 1): 3})
    assert (census.ranks("negative"), census.ranks("positive")) == ((1,), (0,))


@pytest.mark.parametrize(
    "classes",
    [
        {("negative", 0): 30, ("unsure", 0): 5, ("positive", 1): 3},
        {("positive", 0): 30, ("dogs", 1): 3},
        {("positive", 0): 30, ("negative", 1): 3},
        {("cats", 0): 30, ("negative", 1): 3},
    ],
)
def test_a_class_with_the_name_of_a_side_is_refused_if_it_is_not_all_of_it(classes):
    with refused("has the name of a side"):
        Census.of(classes)


def test_messages_list_the_classes_sorted():
    with refused("must be one of 'a', 'b', 'c', 'd' and 'dogs'"):
        validate_splits(
            {"train": {"dgos": 1, "dogs": 1}},
            positive_class="dogs",
            classes=frozenset({"d", "b", "dogs", "a", "c"}),
        )
