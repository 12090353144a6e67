import numpy as np
import pytest

from components.evaluator import metrics
from components.reporter import figures, provenance, slices, wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.87, "87 of 100"),
        (1.0, "100 of 100"),
        (0.0, "0 of 100"),
        (0.996, "996 of 1,000"),
        (0.0004, "4 of 10,000"),
    ],
)
def test_a_rate_is_given_per_hundred_unless_it_would_be_rounded_to_none_or_all(value, text):
    assert wording.of_hundred(value) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.50"),
        (1.0, "1.00"),
        (0.998, "0.998"),
        (0.9996, "0.9996"),
        (0.9 - 0.8 - 0.1, "0.00"),  # not exactly 0 in floats
    ],
)
def test_a_rate_is_never_rounded_to_0_or_1(value, shown):
    assert wording.rate(value, 2) == shown


def test_an_undefined_value_is_a_dash():
    assert wording.rate(None) == wording.interval(None) == wording.DASH


@pytest.mark.parametrize(
    ("prevalence", "text"),
    [
        (1 / 11, "10 negatives per positive"),
        (0.0909, "10 negatives per positive"),
        (0.28, "2.6 negatives per positive"),
        (0.0001, "9,999 negatives per positive"),
        (0.5, "1 negative per positive"),
        (0.75, "3 positives per negative"),
    ],
)
def test_a_balance_is_given_as_negatives_per_positive(prevalence, text):
    assert wording.balance(prevalence) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(14.44, "14.4"), (0.0, "0.0"), (0.0049, "0.005"), (12345.6, "12,345.6"), (None, "–")],
)
def test_an_amount_has_one_decimal_unless_it_would_be_rounded_to_0(value, text):
    assert wording.amount(value) == text


def evaluation(*slices, worst=()):
    """An evaluation with the wrong and all positives of each slice; the negatives mirror them."""
    rows = [
        {"slice": {"breed": name}, "fn": fn, "tp": all_ - fn, "fp": fn, "tn": all_ - fn}
        for name, fn, all_ in slices
    ]
    whole = {"recall": 0.8, "specificity": 0.8, "tp": 80, "fn": 20, "tn": 80, "fp": 20}
    return {"metrics": whole, "slices": rows, "worst_slices": list(worst)}


FORESTS = [slices.by_recall, slices.by_false_positive_rate]


@pytest.mark.parametrize("forest", FORESTS)
def test_a_certainly_bad_slice_comes_before_one_with_few_images(forest):
    found = forest(evaluation(("two images", 2, 2), ("many", 30, 40), ("good", 4, 40)))
    assert [row.name for row in found.rows] == [
        "breed = many",
        "breed = two images",
        "breed = good",
    ]
    assert [row.is_beyond for row in found.rows] == [True, True, False]
    assert not any(row.is_found for row in found.rows)


def test_the_scale_has_every_interval_and_the_rates_are_those_of_the_metric():
    found = evaluation(("many", 30, 40))
    recall, alarms = (forest(found) for forest in FORESTS)
    assert (recall.rows[0].rate, alarms.rows[0].rate) == (0.25, 0.75)
    assert recall.rows[0].interval == pytest.approx((0.1419, 0.4019), abs=1e-4)
    assert alarms.rows[0].interval == pytest.approx((0.5981, 0.8581), abs=1e-4)
    assert (recall.low, recall.high) == (0.1, 1.0)
    assert (alarms.low, alarms.high) == (0.0, 0.9)
    assert recall.place(0.1) == alarms.place(0.0) == "0.00%"
    assert recall.place(1.0) == alarms.place(0.9) == "100.00%"


@pytest.mark.parametrize("forest", FORESTS)
def test_a_slice_with_all_or_none_of_the_class_is_left_out(forest):
    found = forest(evaluation(("all", 20, 100), ("cats", 0, 0), ("half", 10, 50)))
    assert [row.name for row in found.rows] == ["breed = half"]
    assert not found.rows[0].is_beyond


@pytest.mark.parametrize("forest", FORESTS)
def test_only_the_worst_of_many_slices_are_shown_and_the_rest_is_counted(forest):
    found = forest(evaluation(*reversed([(f"{n:02}", 35 - n, 40) for n in range(35)])))
    assert [row.name for row in found.rows] == [f"breed = {n:02}" for n in range(30)]
    assert found.more == 5


def test_the_slices_that_the_search_found_come_first_with_crosses_of_two():
    def worst(metric, is_found, values):
        return {"slice": values, "metric": metric, "wrong": 9, "images": 20, "found": is_found}

    both = {"light": "dim", "breed": "pug"}
    found = evaluation(
        ("many", 30, 40),
        ("pug", 4, 10),
        worst=[
            worst("recall", True, both),
            worst("recall", False, {"light": "dim"}),
            worst("false_positive_rate", True, {"breed": "pug"}),
        ],
    )
    recall, alarms = (forest(found).rows for forest in FORESTS)
    assert [(row.name, row.is_found) for row in recall] == [
        ("breed = pug, light = dim", True),
        ("breed = many", False),
        ("light = dim", False),
        ("breed = pug", False),
    ]
    assert (recall[0].wrong, recall[0].images) == (9, 20)
    assert [(row.name, row.is_found) for row in alarms] == [
        ("breed = pug", True),
        ("breed = many", False),
    ]


def test_settings_become_dotted_keys():
    nested = {"trainer": {"head": {"units": 64}, "weights": None}, "splits": {}, "gates": ["a"]}
    assert provenance.flattened(nested) == [
        ("trainer.head.units", "64"),
        ("trainer.weights", wording.DASH),
        ("splits", "{}"),
        ("gates", "['a']"),
    ]


def test_the_trainer_settings_are_those_that_were_used():
    compiled = {"name": "dogs", "trainer": {"epochs": 20, "model": "cnn", "fine_tune": None}}
    history = {"settings": {"epochs": 3, "model": "xception", "random_state": 42}}
    assert provenance.as_trained(compiled, history) == {
        "name": "dogs",
        "trainer": {"epochs": 3, "model": "xception", "fine_tune": None},
    }
    assert provenance.as_trained(compiled, None) == compiled


def test_a_curve_with_very_many_points_gives_a_small_svg():
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [20_000, 100_000])
    points = metrics.curve(labels, rng.beta(1 + 2 * labels, 3 - labels))
    svg = figures.precision_recall(
        points,
        None,
        prevalence=0.1,
        test_prevalence=None,
        operating={"recall": 0.5, "precision": 0.5},
    )
    assert len(svg) < 60_000


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_training_of_any_length_is_drawn(count):
    epochs = [{"loss": 1 / n, "val_loss": None} for n in range(1, count + 1)]
    assert f"{count} in all" in figures.losses(epochs, count)
    assert f"{count} in all" in figures.pr_aucs(epochs, count)
