import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.calibrator.operating_point import choose
from components.calibrator.smoothing import smoothed_counts
from components.evaluator.metrics import Costs, per_thousand, rates_at_prevalence

POPULATION = 1 / 11
COSTS = Costs(missed=50, false_alarm=1)


def images(positives: int, negatives: int, *, distance: float = 4.0, seed: int = 0):
    """Returns probabilities of a calibrated model, and the labels.

    The log odds are those of N(±distance / 2, 1) scores at the balance of the population.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    scores = rng.normal(distance * (labels - 0.5))
    log_odds = distance * scores + math.log(POPULATION / (1 - POPULATION))
    return (1 / (1 + np.exp(-log_odds))).astype(np.float32), labels


def in_population(threshold: float, distance: float = 4.0) -> dict[str, float]:
    """Returns the model's figures at a threshold on infinitely many images."""
    log_odds = math.log(threshold / (1 - threshold)) - math.log(POPULATION / (1 - POPULATION))
    score = log_odds / distance
    rates = [
        0.5 * math.erfc((score - mean) / math.sqrt(2)) for mean in (distance / 2, -distance / 2)
    ]
    found = {
        **rates_at_prevalence(*rates, POPULATION),
        **per_thousand(*rates, POPULATION, COSTS),
    }
    return {name: float(value) for name, value in found.items()}


def figures_by_threshold(scores, labels):
    """Returns candidate thresholds, with the counts on the images and the expected ones."""
    distinct = np.unique(scores)
    thresholds = ((distinct[1:].astype(float) + distinct[:-1]) / 2).astype(np.float32)
    tp = np.array([(scores[labels == 1] >= bound).sum() for bound in thresholds])
    fp = np.array([(scores[labels == 0] >= bound).sum() for bound in thresholds])
    return thresholds, (tp, fp), smoothed_counts(thresholds, scores, labels)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_f_beta_is_the_highest_that_is_expected_on_new_images(beta):
    scores, labels = images(50, 500)
    point = choose(scores, labels, rule="best_fbeta", beta=beta)
    thresholds, _, (tp, fp) = figures_by_threshold(scores, labels)
    f_beta = (1 + beta**2) * tp / (tp + fp + beta**2 * 50)
    assert point.threshold == thresholds[np.argmax(f_beta)]
    assert point.beta == beta


def test_a_beta_of_one_is_the_best_f1_and_a_higher_one_prefers_recall():
    scores, labels = images(100, 1000, distance=3.0)
    best = choose(scores, labels, rule="best_f1")
    by_beta = [choose(scores, labels, rule="best_fbeta", beta=beta) for beta in (0.5, 1, 2)]
    assert by_beta[1].threshold == best.threshold
    assert by_beta[0].recall < by_beta[1].recall < by_beta[2].recall
    assert best.beta is None


def test_precision_is_the_highest_that_the_recall_floor_allows():
    scores, labels = images(100, 1000)
    point = choose(scores, labels, rule="precision_at_recall", recall_floor=0.9)
    thresholds, plain, expected = figures_by_threshold(scores, labels)
    held = (plain[0] >= 90) & (expected[0] >= 90)
    precision = expected[0] / (expected[0] + expected[1])
    assert point.threshold == thresholds[held][np.argmax(precision[held])]
    assert 0.9 <= point.recall < 0.97
    assert point.recall_floor == 0.9


def test_recall_is_the_highest_that_the_number_of_alerts_allows():
    scores, labels = images(100, 100, distance=2.0)
    point = choose(scores, labels, rule="alerts_per_thousand", alerts=80, prevalence=POPULATION)
    thresholds, plain, expected = figures_by_threshold(scores, labels)
    alerts = [
        per_thousand(tp / 100, fp / 100, POPULATION)["alerts_per_thousand"]
        for tp, fp in (plain, expected)
    ]
    held = (alerts[0] <= 80) & (alerts[1] <= 80)
    # Of equal recalls, the one with the fewest alerts.
    best = plain[0] == plain[0][held].max()
    assert point.threshold == thresholds[best].max()
    assert point.alerts == 80


def test_the_least_expected_cost_is_near_the_closed_form_for_calibrated_probabilities():
    scores, labels = images(2000, 20_000)
    for costs in (COSTS, Costs(missed=1, false_alarm=4), Costs(missed=100, false_alarm=100)):
        point = choose(scores, labels, rule="expected_cost", costs=costs)
        closed_form = costs.false_alarm / (costs.false_alarm + costs.missed)
        assert point.threshold == pytest.approx(closed_form, rel=0.35)
        assert point.costs == costs


def test_only_the_ratio_of_the_costs_matters_and_negatives_are_weighted_to_the_population():
    scores, labels = images(100, 100)
    rule = {"rule": "expected_cost", "prevalence": POPULATION}
    point = choose(scores, labels, costs=COSTS, **rule)
    assert choose(scores, labels, costs=Costs(5.0, 0.1), **rule).threshold == point.threshold
    unweighted = choose(scores, labels, rule="expected_cost", costs=COSTS)
    assert unweighted.threshold < point.threshold
    chosen, other = (in_population(each.threshold) for each in (point, unweighted))
    assert chosen["expected_cost"] < other["expected_cost"]


def test_if_false_alarms_cost_too_much_no_image_is_positive():
    scores, labels = images(50, 500, distance=0.5)
    point = choose(scores, labels, rule="expected_cost", costs=Costs(1, 1000), promised=True)
    assert not (scores >= np.float32(point.threshold)).any()
    assert point.remarks == (
        "calling no image positive costs least: false alarms cost more than they save",
    )
    # All positive images are missed, by 50 of 550.
    assert point.promised["expected_cost"] == pytest.approx(1000 / 11, rel=0.02)


@pytest.mark.parametrize(
    ("rule", "settings", "figure", "holds"),
    [
        ("precision_at_recall", {"recall_floor": 0.9}, "recall", lambda mean: mean > 0.895),
        ("alerts_per_thousand", {"alerts": 90}, "alerts_per_thousand", lambda mean: mean < 91),
    ],
)
def test_with_few_positives_a_bound_holds_on_average_on_new_images(rule, settings, figure, holds):
    found = []
    for seed in range(100):
        scores, labels = images(20, 200, seed=seed)
        point = choose(scores, labels, rule=rule, prevalence=POPULATION, **settings)
        found.append(in_population(point.threshold)[figure])
    assert holds(np.mean(found))


def test_with_few_positives_smoothing_costs_less_on_new_images_than_the_least_cost_on_val():
    smooth, plain = [], []
    for seed in range(100):
        scores, labels = images(20, 200, seed=seed)
        point = choose(scores, labels, rule="expected_cost", costs=COSTS)
        thresholds, (tp, fp), _ = figures_by_threshold(scores, labels)
        least = float(thresholds[::-1][np.argmin((50 * (20 - tp) + fp)[::-1])])
        smooth.append(in_population(point.threshold)["expected_cost"])
        plain.append(in_population(least)["expected_cost"])
    assert np.mean(smooth) < np.mean(plain) - 5


def test_a_limit_of_alerts_out_of_reach_is_refused_with_the_fewest():
    message = (
        r"no threshold of this model with an alert keeps to calibrator\.alerts: the fewest alerts "
        r"are 125 per 1,000 images, at a recall of 0\.5000; raise it .*Received: 100"
    )
    scores = np.linspace(0.9, 0.1, 8)
    with pytest.raises(ValueError, match=message):
        choose(scores, np.array([1, 1, 0, 0, 0, 0, 0, 0]), rule="alerts_per_thousand", alerts=100)


def test_bounds_that_are_not_expected_to_hold_give_remarks():
    scores, labels = images(20, 200)
    point = choose(scores, labels, rule="precision_at_recall", recall_floor=0.95, promised=True)
    low, high = point.promised["intervals"]["recall"]
    assert point.remarks == (
        f"the 95 % interval of recall is {low:.3f} to {high:.3f}: the true recall may be below the "
        "floor of 0.95",
    )
    # The highest score is that of a positive image: one alert in 220 images.
    point = choose(scores, labels, rule="alerts_per_thousand", alerts=4.6, promised=True)
    assert point.remarks[0].startswith(
        "no threshold with at most 4.6 alerts per 1,000 images is expected to keep to that on new "
    )
    assert point.remarks[1].startswith("the 95 % interval of the alerts per 1,000 images is ")
    assert point.remarks[1].endswith(": there may be more than 4.6")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "expected_cost"}, r"calibrator\.costs is required"),
        ({"rule": "best_fbeta", "beta": 0}, "beta must be above 0. Received: 0"),
        ({"rule": "best_fbeta", "beta": math.inf}, "beta must be above 0. Received: inf"),
        ({"rule": "alerts_per_thousand", "alerts": 0}, "above 0 and at most 1,000. Received: 0"),
        ({"rule": "precision_at_recall", "recall_floor": 1.1}, "from 0 to 1. Received: 1.1"),
        ({"rule": "best_f1", "review": 1}, r"review must be from 0 to below 1\. Received: 1"),
        ({"rule": "best_f1", "review": math.nan}, "Received: nan"),
    ],
)
def test_invalid_settings_of_rules_are_refused(arguments, message):
    scores, labels = images(5, 10)
    with pytest.raises(ValueError, match=message):
        choose(scores, labels, **arguments)


@pytest.mark.parametrize("costs", [(-1, 1), (1, -1), (0, 0), (math.nan, 1), (1, math.inf)])
def test_costs_must_be_numbers_of_zero_or_more(costs):
    with pytest.raises(ValueError, match=r"0 or more, not both 0\. Received: missed"):
        Costs(*costs)


def test_fewer_than_ten_positives_work_with_a_remark():
    for positives in (1, 9):
        scores, labels = images(positives, 100)
        point = choose(scores, labels, rule="best_f1", promised=True)
        low, high = point.promised["intervals"]["recall"]
        assert low < point.promised["recall"] <= high
        assert point.remarks[-1].startswith(f"only {positives} positive image")
    scores, labels = images(10, 100)
    assert choose(scores, labels, rule="best_f1").remarks == ()


_IMAGES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(label for _, label in rows) < len(rows))


@given(rows=_IMAGES, limit=st.floats(0.01, 1))
def test_bounds_are_kept_on_val_if_any_threshold_keeps_them(rows, limit):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    point = choose(scores, labels, rule="precision_at_recall", recall_floor=limit)
    assert point.recall >= limit * (1 - 1e-9)
    fewest = (scores.astype(np.float32) == scores.astype(np.float32).max()).mean()
    if fewest > limit:
        with pytest.raises(ValueError, match="no threshold of this model"):
            choose(scores, labels, rule="alerts_per_thousand", alerts=1000 * limit)
        return
    point = choose(scores, labels, rule="alerts_per_thousand", alerts=1000 * limit)
    called = scores.astype(np.float32) >= np.float32(point.threshold)
    assert 0 < called.mean() <= limit * (1 + 1e-9)
