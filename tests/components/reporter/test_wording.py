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


def slice_row(name, tp, fn, low, high):
    return {
        "slice": {"breed": name},
        "recall": tp / (tp + fn) if tp + fn else None,
        "intervals": {"recall": [low, high]},
        "tp": tp,
        "fn": fn,
    }


def evaluation(*rows):
    return {"metrics": {"recall": 0.8, "tp": 80, "fn": 20}, "slices": list(rows)}


def test_a_certainly_bad_slice_comes_before_one_with_few_images():
    small, bad = slice_row("one image", 0, 1, 0.0, 0.79), slice_row("many", 10, 30, 0.14, 0.4)
    ranking = slices.by_recall(evaluation(small, bad))
    assert [row.name for row in ranking.rows] == ["breed = many", "breed = one image"]
    assert [row.is_worst for row in ranking.rows] == [True, False]
    assert [row.is_below for row in ranking.rows] == [True, True]
    assert ranking.floor == 0.0


def test_a_slice_with_all_or_none_of_the_class_is_left_out():
    whole, none = slice_row("all", 80, 20, 0.7, 0.9), slice_row("cats", 0, 0, 0, 0)
    half = slice_row("half", 40, 10, 0.67, 0.89)
    ranking = slices.by_recall(evaluation(whole, none, half))
    assert [row.name for row in ranking.rows] == ["breed = half"]
    assert not ranking.rows[0].is_below
    assert ranking.floor == 0.6


def test_only_the_worst_of_many_slices_are_shown_and_the_rest_is_counted():
    rows = [slice_row(f"{n:02}", 1, 1, 0.1, 0.5 + n / 100) for n in range(35)]
    ranking = slices.by_recall(evaluation(*reversed(rows)))
    assert [row.name for row in ranking.rows] == [f"breed = {n:02}" for n in range(30)]
    assert ranking.more == 5


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
