import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.slice_search import SCENARIOS, draw_columns, simulate
from components.evaluator.slice_search import FALSE_DISCOVERY_RATE, search


def split(wrong_by_slice: dict[tuple[str, ...], tuple[int, int]], columns=("breed", "light")):
    """Positives with (wrong, right) images by values of the columns."""
    rows = [
        (*values, outcome)
        for values, (wrong, right) in wrong_by_slice.items()
        for outcome in [False] * wrong + [True] * right
    ]
    *texts, called = zip(*rows, strict=True)
    named = {name: np.array(text) for name, text in zip(columns, texts, strict=True)}
    return np.ones(len(called), bool), np.array(called), named


def by_slice(result) -> dict:
    return {finding.slice: finding for finding in result.worst}


PUG = (("breed", "pug"),)


def test_a_slice_is_compared_with_the_rest_by_fishers_exact_test():
    counts = {("pug",): (8, 12), ("beagle",): (5, 85), ("collie",): (5, 85)}
    result = search(*split(counts, ["breed"]))
    found = by_slice(result)[PUG]
    assert (found.metric, found.images, found.wrong) == ("recall", 20, 8)
    assert (found.value, found.rest) == (0.6, pytest.approx(170 / 180))
    assert found.difference == pytest.approx(0.6 - 170 / 180)
    expected = stats.fisher_exact([[8, 12], [10, 170]], alternative="greater").pvalue
    assert found.p == pytest.approx(expected)
    assert found.q == pytest.approx(3 * expected)  # the two others are not worse
    assert (result.looked_at, result.found, found.found) == (3, 1, True)


def test_the_interval_of_the_difference_is_newcombes_at_the_corrected_level():
    # Both slices that are looked at are listed, so the level is 95 %. Newcombe (1998), table II,
    # method 10, example (a): 56 of 70 and 48 of 80.
    result = search(*split({("a",): (56, 14), ("b",): (48, 32)}, ["breed"]))
    found = by_slice(result)[(("breed", "a"),)]
    assert found.interval == pytest.approx((-0.3339, -0.0524), abs=5e-5)
    assert found.worse_by == pytest.approx(0.0524, abs=5e-5)


def test_the_interval_is_wider_if_the_listed_slices_are_chosen_from_many():
    rng = np.random.default_rng(0)
    labels, called = np.ones(4000, bool), rng.random(4000) < 0.9
    columns = {"breed": np.repeat([f"{number:02}" for number in range(40)], 100)}
    result = search(labels, called, columns)
    assert (result.looked_at, len(result.worst)) == (40, 10)
    found = result.worst[0]
    z = stats.norm.isf(0.05 * 10 / 40 / 2)
    ends = [
        stats.binomtest(count, images).proportion_ci(1 - 2 * stats.norm.sf(z), "wilson")
        for count, images in ((found.wrong, 100), (np.sum(~called) - found.wrong, 3900))
    ]
    share, rest = 1 - found.value, 1 - found.rest
    expected = share - rest - np.hypot(share - ends[0].low, ends[1].high - rest)
    assert found.worse_by == pytest.approx(expected)


def test_negatives_are_compared_by_their_false_positive_rate():
    labels, called, columns = split({("pug",): (8, 12), ("beagle",): (10, 170)}, ["breed"])
    found = by_slice(search(~labels, ~called, columns))[PUG]
    assert found.metric == "false_positive_rate"
    assert (found.value, found.rest) == (0.4, pytest.approx(10 / 180))
    assert found.interval[0] > 0
    assert found.worse_by == found.interval[0]


def test_a_cross_is_found_only_if_it_is_worse_than_both_of_its_parts():
    bad = {("pug", "day"): (60, 60), ("pug", "dim"): (60, 60), ("beagle", "day"): (20, 180)}
    result = search(*split({**bad, ("beagle", "dim"): (20, 180)}))
    assert [finding.slice for finding in result.worst if finding.found] == [PUG]

    bad[("pug", "day")] = (6, 114)
    result = search(*split({**bad, ("beagle", "dim"): (20, 180)}))
    worst = result.worst[0]
    assert (worst.slice, worst.found) == ((("breed", "pug"), ("light", "dim")), True)
    # The bound is that of the comparison in which the cross is the least worse.
    assert worst.value - worst.rest == pytest.approx(0.5 - 474 / 520)
    assert worst.worse_by < -worst.interval[1]


def test_slices_that_can_not_be_found_are_not_looked_at():
    # Of 3 images, even 3 wrong ones are too few; a column of one value has no rest.
    labels, called, columns = split({("pug",): (3, 0), ("beagle",): (2, 95)}, ["breed"])
    every = search(labels, called, {**columns, "site": np.full(len(labels), "here")})
    assert (every.looked_at, every.worst) == (0, [])
    # If 2 of 100 images are wrong, both may well be among the same 30.
    assert search(*split({("pug",): (0, 30), ("beagle",): (2, 68)}, ["breed"])).looked_at == 0
    assert search(*split({("pug",): (0, 30), ("beagle",): (4, 66)}, ["breed"])).looked_at == 1
    # A cross that equals one of its parts is not looked at twice.
    bad = {("pug", "day"): (20, 20), ("beagle", "dim"): (20, 180)}
    assert {len(finding.slice) for finding in search(*split(bad)).worst} == {1}


def test_a_perfect_model_has_no_worse_slice():
    labels, _, columns = split({("pug",): (8, 12), ("beagle",): (10, 170)}, ["breed"])
    assert search(labels, labels, columns).found == 0


def test_the_result_depends_neither_on_the_order_of_images_nor_of_columns():
    rng = np.random.default_rng(1)
    labels, columns = np.repeat([1, 0], [200, 900]), draw_columns(1100, rng)
    in_cross = (columns["camera"] == "2") & (columns["breed"] == "0")
    called = labels.astype(bool) ^ (rng.random(1100) < np.where(in_cross, 0.9, 0.2))
    order = rng.permutation(1100)
    shuffled = {name: columns[name][order] for name in sorted(columns, reverse=True)}
    first = search(labels, called, columns)
    assert first.looked_at > 100
    assert (("breed", "0"), ("camera", "2")) in by_slice(first)
    assert search(labels[order], called[order], shuffled) == first
    categories = {name: pd.Series(text).astype("category") for name, text in columns.items()}
    assert search(labels, called, categories) == first


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_false_discovery_rate_holds_and_planted_slices_are_found(scenario):
    false, found = simulate(SCENARIOS[scenario], (100, 1000), 0.1, repetitions=100)
    # Two standard errors above the rate, for 100 repetitions.
    assert false <= FALSE_DISCOVERY_RATE + 0.044
    if SCENARIOS[scenario].planted:
        assert found > 0.8
