import json
import math

import numpy as np
import pytest

from components.calibrator import wording
from components.calibrator.operating_point import choose
from components.evaluator.metrics import Costs, per_thousand, rates_at_prevalence

COSTS = Costs(missed=50, false_alarm=1)


def images(positives: int, negatives: int, *, distance: float = 2.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    scores = rng.normal(distance * (labels - 0.5))
    return (1 / (1 + np.exp(-scores))).astype(np.float32), labels


def true_f1(threshold: float, prevalence: float, distance: float = 2.0) -> float:
    """Returns the model's F1 on infinitely many images."""
    score = math.log(threshold / (1 - threshold))
    rates = [
        0.5 * math.erfc((score - mean) / math.sqrt(2)) for mean in (distance / 2, -distance / 2)
    ]
    return float(rates_at_prevalence(*rates, prevalence)["f1"])


def test_cross_fitting_removes_the_optimism_of_a_threshold_chosen_on_few_positives():
    on_val, promised = [], []
    for seed in range(40):
        scores, labels = images(20, 20, seed=seed)
        point = choose(scores, labels, rule="alerts_per_thousand", alerts=500, promised=True)
        true = true_f1(point.threshold, 0.5)
        on_val.append(point.f1 - true)
        promised.append(point.promised["f1"] - true)
    assert np.mean(on_val) > 0.02
    assert abs(np.mean(promised)) < 0.015


def test_the_figures_belong_together_and_the_intervals_include_them():
    scores, labels = images(40, 400)
    point = choose(
        scores, labels, rule="best_fbeta", beta=2, costs=COSTS, prevalence=0.02, promised=True
    )
    found = point.promised
    hits = 0.02 * found["recall"]
    alarms = hits / found["precision"] - hits
    expected = per_thousand(found["recall"], alarms / 0.98, 0.02, COSTS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value))
    assert found["f1"] == pytest.approx(2 * hits / (hits + alarms + 0.02))
    assert found["f_beta"] == pytest.approx(5 * hits / (hits + alarms + 4 * 0.02))
    assert set(found["intervals"]) == set(found) - {"intervals", "review"}
    for name, (low, high) in found["intervals"].items():
        assert low < found[name] < high


def test_figures_that_a_rule_does_not_need_are_left_out():
    promised = choose(*images(40, 400), rule="best_f1", promised=True).promised
    assert set(promised) == {
        *("precision", "recall", "f1", "alerts_per_thousand", "intervals", "review")
    }


@pytest.mark.parametrize("review", [0.0, 0.05])
def test_a_fixed_threshold_has_the_figures_of_val(review):
    scores, labels = images(40, 400)
    point = choose(scores, labels, rule="fixed", threshold=0.6, review=review, promised=True)
    assert point.promised["recall"] == pytest.approx(point.recall)
    assert point.promised["f1"] == pytest.approx(point.f1)


def test_the_promise_does_not_depend_on_the_order_of_the_images():
    scores, labels = images(30, 100)
    scores = scores.round(2)
    shuffled = np.random.default_rng(1).permutation(130)
    arguments = {"rule": "best_f1", "promised": True, "review": 0.05}
    expected = choose(scores, labels, **arguments)
    assert choose(scores[shuffled], labels[shuffled], **arguments) == expected


def test_the_figures_of_the_review_band_are_close_to_those_on_many_new_images():
    point = choose(*images(500, 5000), rule="best_f1", review=0.05, promised=True)
    scores, labels = images(20_000, 200_000, seed=1)
    exact = scores.astype(np.float64)
    reviewed = (exact >= point.review["lower"]) & (exact < point.review["upper"])
    truth, called = labels == 1, (scores >= np.float32(point.threshold)) & ~reviewed
    expected = {
        "share": reviewed.mean(),
        "precision": truth[called].mean(),
        "recall": called[truth & ~reviewed].mean(),
        "recall_with_review": (called | reviewed)[truth].mean(),
        "alerts_per_thousand": 1000 * called.mean(),
    }
    found = point.promised["review"]
    for name, value in expected.items():
        low, high = found["intervals"][name]
        assert low < value < high
        assert found[name] == pytest.approx(value, rel=0.1)
    assert "expected_cost" not in found


def test_a_single_positive_image_is_not_left_out():
    point = choose(*images(1, 50), rule="best_f1", promised=True)
    assert point.promised["recall"] == point.recall == 1.0


def test_the_promise_is_plain_json():
    point = choose(*images(2, 30), rule="best_f1", review=0.1, costs=COSTS, promised=True)
    read = json.loads(point.to_json())
    assert read["promised"]["f1"] == point.promised["f1"]
    assert read["costs"] == {"missed": 50, "false_alarm": 1}
    assert read["review"]["share"] == 0.1


def test_the_promise_is_put_in_words():
    point = choose(*images(50, 500), rule="best_f1", review=0.05, costs=COSTS, promised=True)
    expected, reviewed = wording.promised(json.loads(point.to_json()))
    found = point.promised
    low, high = found["intervals"]["f1"]
    assert expected.startswith("to expect on new images, with 95 % intervals: precision 0.")
    assert f", F1 {found['f1']:.3f} ({low:.3f} to {high:.3f}), alerts per" in expected
    assert f", cost per 1,000 images {found['expected_cost']:,.0f} (" in expected
    lower, upper = point.review["lower"], point.review["upper"]
    assert reviewed.startswith(
        f"to be reviewed by a person, from {lower:.4f} to below {upper:.4f}: "
        f"{found['review']['share']:.2%} of images ("
    )
    assert list(wording.promised({"promised": None})) == []
