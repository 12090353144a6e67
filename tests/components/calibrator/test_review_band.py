import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.calibrator.operating_point import RULES, choose
from components.calibrator.smoothing import smoothed_counts
from components.evaluator.metrics import Costs

POPULATION = 1 / 11
SETTINGS = {
    "precision_floor": 0.8,
    "recall_floor": 0.8,
    "beta": 2,
    "alerts": 90,
    "costs": Costs(missed=50, false_alarm=1),
}


def images(positives: int, negatives: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    scores = rng.normal(3 * (labels - 0.5))
    return (1 / (1 + np.exp(-scores))).astype(np.float32), labels


def within(scores, point):
    """Returns which images are reviewed, compared as in the exported model."""
    exact = scores.astype(np.float64)
    return (exact >= point.review["lower"]) & (exact < point.review["upper"])


def share(chosen, labels, prevalence):
    """Returns the share of images at the prevalence."""
    return prevalence * chosen[labels == 1].mean() + (1 - prevalence) * chosen[labels == 0].mean()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_band_around_its_threshold_with_at_most_the_share(rule):
    scores, labels = images(200, 400)
    rules = {"rule": rule, "prevalence": POPULATION, **SETTINGS}
    point = choose(scores, labels, review=0.05, **rules)
    # The decision for every image does not change.
    assert point.threshold == choose(scores, labels, **rules).threshold
    assert point.review["share"] == 0.05
    assert point.review["lower"] <= point.threshold <= point.review["upper"]
    found = share(within(scores, point), labels, POPULATION)
    ends = np.array([point.review["lower"], point.review["upper"]], np.float32)
    tp, fp = smoothed_counts(ends, scores, labels)
    expected = POPULATION * (tp[0] - tp[1]) / 200 + (1 - POPULATION) * (fp[0] - fp[1]) / 400
    assert 0.03 < max(found, expected) <= 0.05


def outside(scores, labels, point):
    """Returns true positives, false positives and missed images of those that are decided."""
    decided, called = ~within(scores, point), scores >= np.float32(point.threshold)
    truth = labels == 1
    return [
        int((mask & decided).sum()) for mask in (truth & called, ~truth & called, truth & ~called)
    ]


def test_the_images_outside_of_the_band_are_decided_better():
    scores, labels = images(300, 3000)
    for rule in ("best_f1", "fixed"):
        point = choose(scores, labels, rule=rule, review=0.05)
        tp, fp, missed = outside(scores, labels, point)
        assert 2 * tp / (2 * tp + fp + missed) > point.f1 + 0.05
    point = choose(scores, labels, rule="expected_cost", review=0.05, **SETTINGS)
    tp, fp, missed = outside(scores, labels, point)
    called = scores >= np.float32(point.threshold)
    of_all = 50 * (~called & (labels == 1)).sum() + (called & (labels == 0)).sum()
    assert 50 * missed + fp < 0.9 * of_all


def test_the_band_of_a_precision_floor_is_below_the_threshold_so_that_recall_is_highest():
    scores, labels = images(300, 3000)
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=0.9, review=0.05)
    assert point.review["upper"] == point.threshold
    tp, fp, missed = outside(scores, labels, point)
    assert tp / (tp + fp) == pytest.approx(point.precision)
    assert tp / (tp + missed) > point.recall + 0.15


def test_a_recall_floor_holds_for_the_decided_images_at_a_higher_precision():
    scores, labels = images(300, 3000)
    point = choose(scores, labels, rule="precision_at_recall", recall_floor=0.8, review=0.05)
    tp, fp, missed = outside(scores, labels, point)
    assert tp / (tp + missed) >= 0.8
    assert tp / (tp + fp) > point.precision + 0.1


def test_equal_scores_at_the_threshold_are_not_split_and_a_remark_says_so():
    scores = np.array([0.9] * 5 + [0.5] * 50 + [0.1] * 45, np.float32)
    labels = np.array([1] * 5 + [1] * 5 + [0] * 90)
    point = choose(scores, labels, rule="best_f1", review=0.02, promised=True)
    assert point.review["lower"] == point.review["upper"] == point.threshold
    assert point.remarks[0].startswith("no image is reviewed")
    assert point.promised["review"]["share"] == 0


def test_without_a_review_band_there_is_none():
    point = choose(*images(20, 200), rule="best_f1", promised=True)
    assert point.review is None
    assert point.promised["review"] is None


_IMAGES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(label for _, label in rows) < len(rows))


@given(rows=_IMAGES, rule=st.sampled_from(RULES), review=st.floats(0.01, 0.99))
def test_no_more_images_than_the_share_are_ever_reviewed(rows, rule, review):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    scores = scores.astype(np.float32)
    settings = {**SETTINGS, "precision_floor": 0.0, "alerts": 1000}
    point = choose(scores, labels, rule=rule, review=review, **settings)
    assert within(scores, point).mean() <= review * (1 + 1e-9)
    assert point.review["lower"] <= point.threshold <= point.review["upper"]
