import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.calibrator import operating_point
from components.calibrator.operating_point import choose
from components.calibrator.smoothing import smoothed_counts
from components.evaluator.metrics import Costs, rates_at_prevalence

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1], np.float32)
LABELS = np.array([1, 1, 0, 1, 0, 0, 0, 0])


def test_a_threshold_is_halfway_between_the_scores_that_it_separates():
    point = choose(SCORES, LABELS, rule="best_f1")
    assert point.threshold == pytest.approx(0.5)
    assert (point.precision, point.recall) == (0.75, 1.0)
    assert point.f1 == pytest.approx(6 / 7)
    assert (point.positives, point.negatives) == (3, 5)
    assert point.precision_floor is None


def test_recall_is_the_highest_that_the_precision_floor_allows():
    scores, labels = binormal(np.random.default_rng(0), 100, 1000)
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=0.9)
    assert point.precision_floor == 0.9
    assert 0.9 <= point.precision < 1
    distinct = np.unique(scores)
    bounds = (distinct[1:] + distinct[:-1]) / 2
    plain = np.array([labels[scores >= bound].mean() for bound in bounds])
    recall = np.array([(scores[labels == 1] >= bound).mean() for bound in bounds])
    tp, fp = smoothed_counts(bounds, scores, labels)
    held = (plain >= 0.9) & (tp / (tp + fp) >= 0.9)
    assert point.recall == recall[held].max()


def test_a_floor_that_is_just_reached_is_reached_despite_rounding():
    labels = np.array([0, 1, 1, 1, 0, 0, 0, 0])
    for prevalence in (0.3, 0.07, 1 / 11):
        floor = float(rates_at_prevalence(1.0, 1 / 5, prevalence)["precision"])
        point = choose(
            SCORES, labels, rule="recall_at_precision", prevalence=prevalence, precision_floor=floor
        )
        assert (point.precision, point.recall) == (pytest.approx(floor), 1.0)


def test_of_equal_recalls_the_highest_precision_is_chosen():
    # Below 0.5, lower thresholds only add false positives.
    point = choose(SCORES, LABELS, rule="recall_at_precision", precision_floor=0.1)
    assert point.threshold == pytest.approx(0.5)


def test_a_floor_out_of_reach_is_refused_with_the_best_precision():
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 0])
    message = r"the best precision is 0.5000, at a recall of 1.0000; lower .*Received: 0.9"
    with pytest.raises(ValueError, match=message):
        choose(SCORES, labels, rule="recall_at_precision", precision_floor=0.9)


def test_a_fixed_threshold_counts_a_score_that_equals_it():
    point = choose(SCORES, LABELS, rule="fixed", threshold=0.8)
    assert point.threshold == np.float32(0.8)
    assert (point.precision, point.recall) == (1.0, pytest.approx(2 / 3))


def test_a_fixed_threshold_that_no_score_reaches_has_no_precision():
    point = choose(SCORES, LABELS, rule="fixed", threshold=0.95)
    assert (point.precision, point.recall, point.f1) == (0.0, 0.0, 0.0)
    assert point.precision_interval is None


def test_equal_scores_are_never_separated():
    scores = np.array([0.5, 0.5, 0.5, 0.1], np.float32)
    point = choose(scores, np.array([1, 0, 1, 0]), rule="best_f1")
    assert point.threshold == pytest.approx(0.3)
    assert point.recall == 1.0


def test_if_all_scores_are_equal_every_image_is_positive():
    point = choose(np.full(4, 0.2), np.array([1, 0, 0, 0]), rule="best_f1")
    assert point.threshold <= np.float32(0.2)
    assert (point.precision, point.recall) == (0.25, 1.0)


def test_scores_of_zero_and_one_are_separated():
    point = choose(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1, 1, 0, 0]), rule="best_f1")
    assert (point.threshold, point.f1) == (0.5, 1.0)


# The midpoint of neighbours is rounded up for one of these pairs and down for the other.
@pytest.mark.parametrize("low", [np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))])
def test_neighbours_in_float32_are_separated_equally_in_float32_and_float64(low):
    high = np.nextafter(low, np.float32(1))
    point = choose(np.array([high, low, 0.1, 0.05]), np.array([1, 0, 0, 0]), rule="best_f1")
    for score, called in ((high, True), (low, False)):
        assert (np.float32(score) >= np.float32(point.threshold)) == called
        assert (float(score) >= point.threshold) == called


@pytest.mark.parametrize(
    ("scores", "labels", "arguments", "message"),
    [
        ([0.1, 0.2], [0, 0], {"rule": "best_f1"}, "Received: 0 positive and 2 negative"),
        ([0.1, 0.2], [1, 1], {"rule": "best_f1"}, "Received: 2 positive and 0 negative"),
        ([0.1, np.nan], [1, 0], {"rule": "best_f1"}, "numbers from 0 to 1. Received: nan"),
        ([0.1, 1.5], [1, 0], {"rule": "best_f1"}, "numbers from 0 to 1. Received: 1.5"),
        ([0.1], [1, 0], {"rule": "best_f1"}, r"shapes \(1,\) and \(2,\)"),
        ([0.1, 0.2], [1, 0], {"rule": "youden"}, "Received: 'youden'"),
        ([0.1, 0.2], [1, 0], {"rule": "fixed", "threshold": 1.5}, "Received: 1.5"),
    ],
)
def test_invalid_arguments_are_refused(scores, labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        choose(np.array(scores), np.array(labels), **arguments)


_IMAGES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda images: 0 < sum(label for _, label in images) < len(images))


@given(images=_IMAGES, rule=st.sampled_from(["best_f1", "recall_at_precision"]))
def test_the_metrics_are_those_of_the_threshold(images, rule):
    scores, labels = (np.array(column) for column in zip(*images, strict=True))
    point = choose(scores, labels, rule=rule)
    called = scores.astype(np.float32) >= np.float32(point.threshold)
    true_positives = int(labels[called].sum())
    assert called.any()
    assert point.precision == pytest.approx(true_positives / called.sum())
    assert point.recall == pytest.approx(true_positives / labels.sum())
    assert point.f1 == pytest.approx(2 * true_positives / (called.sum() + labels.sum()))


@given(images=_IMAGES, floor=st.floats(0, 1))
def test_the_floor_is_reached_if_any_threshold_reaches_it(images, floor):
    scores, labels = (np.array(column) for column in zip(*images, strict=True))
    scores = scores.astype(np.float32)
    reached = []
    for threshold in scores:
        called = scores >= threshold
        if labels[called].mean() >= floor:
            reached.append(labels[called].sum() / labels.sum())
    if not reached:
        with pytest.raises(
            ValueError, match=r"no threshold of this model reaches calibrator\.prec"
        ):
            choose(scores, labels, rule="recall_at_precision", precision_floor=floor)
        return
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=floor)
    assert point.precision >= floor * (1 - 1e-9)
    assert point.recall <= max(reached) + 1e-9


POPULATION = 1 / 11
COSTS = Costs(missed=50, false_alarm=1)
SETTINGS = {"precision_floor": 0.8, "recall_floor": 0.8, "beta": 2, "alerts": 90, "costs": COSTS}


def binormal(rng, positives: int, negatives: int, distance: float = 6.0):
    """Returns probabilities of a model with log odds N(±distance / 2, 1.5), and the labels."""
    labels = np.repeat([1, 0], [positives, negatives])
    scores = rng.normal(distance * (labels - 0.5), 1.5)
    return (1 / (1 + np.exp(-scores))).astype(np.float32), labels


def population_metrics(threshold: float, distance: float = 6.0) -> dict:
    """Returns the model's metrics in the population, on infinitely many images."""
    score = math.log(threshold / (1 - threshold))
    recall, alarms = (
        0.5 * math.erfc((score - mean) / 1.5 / math.sqrt(2))
        for mean in (distance / 2, -distance / 2)
    )
    return rates_at_prevalence(recall, alarms, POPULATION)


def test_a_balanced_val_gives_nearly_the_f1_of_a_representative_one():
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"representative": [], "weighted": [], "unweighted": []}
    for _ in range(40):
        for key, negatives, prevalence in (
            ("representative", 1000, POPULATION),
            ("weighted", 100, POPULATION),
            ("unweighted", 100, None),
        ):
            scores, labels = binormal(rng, 100, negatives, 4)
            point = choose(scores, labels, rule="best_f1", prevalence=prevalence)
            found[key].append(float(population_metrics(point.threshold, 4)["f1"]))
    f1 = {key: np.mean(values) for key, values in found.items()}
    assert f1["weighted"] == pytest.approx(f1["representative"], abs=0.015)
    assert f1["unweighted"] < f1["representative"] - 0.1


@pytest.mark.parametrize("negatives", [1000, 100])
@pytest.mark.parametrize("distance", [5.0, 6.0])
def test_a_precision_floor_is_reached_in_the_population_in_expectation(negatives, distance):
    rng = np.random.default_rng(0)
    rule = {"rule": "recall_at_precision", "prevalence": POPULATION, "precision_floor": 0.95}
    points = [choose(*binormal(rng, 100, negatives, distance), **rule) for _ in range(40)]
    found = [population_metrics(point.threshold, distance) for point in points]
    assert np.mean([each["precision"] for each in found]) >= 0.95
    # And not because hardly any image is predicted positive.
    assert np.mean([each["recall"] for each in found]) > 0.4


def test_a_rule_without_the_prevalence_misses_the_floor_in_the_population():
    rng = np.random.default_rng(0)
    scores, labels = binormal(rng, 500, 500, 4)
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=0.95)
    assert point.precision >= 0.95
    assert population_metrics(point.threshold, 4)["precision"] < 0.75


@pytest.mark.parametrize("rule", operating_point.RULES)
def test_every_rule_gives_its_metrics_at_both_balances(rule):
    scores, labels = binormal(np.random.default_rng(0), 100, 100)
    point = choose(scores, labels, rule=rule, prevalence=POPULATION, **SETTINGS)
    called = scores >= np.float32(point.threshold)
    recall, alarms = called[labels == 1].mean(), called[labels == 0].mean()
    expected = rates_at_prevalence(recall, alarms, POPULATION)
    assert point.prevalence == POPULATION
    for name in ("precision", "recall", "f1"):
        assert getattr(point, name) == pytest.approx(float(expected[name]))
    assert point.own_balance == {
        "prevalence": 0.5,
        "precision": pytest.approx(labels[called].mean()),
        "f1": pytest.approx(2 * labels[called].sum() / (called.sum() + 100)),
    }
    low, high = point.precision_interval
    assert low < point.precision <= high


def test_a_val_of_the_populations_balance_is_not_reweighted():
    scores, labels = binormal(np.random.default_rng(0), 50, 500)
    for rule in operating_point.RULES:
        expected = choose(scores, labels, rule=rule, **SETTINGS)
        found = choose(scores, labels, rule=rule, prevalence=POPULATION, **SETTINGS)
        assert found.threshold == expected.threshold
        assert found.precision == pytest.approx(expected.own_balance["precision"])
        assert not any("represents" in remark for remark in found.remarks)


def test_few_negatives_that_represent_many_give_a_remark():
    scores, labels = binormal(np.random.default_rng(0), 100, 100)
    (remark,) = choose(scores, labels, rule="best_f1", prevalence=POPULATION).remarks
    assert remark.startswith("each of the 100 negative images represents 10 of the population,")
    # More negatives per positive than in the population are no problem.
    scores, labels = binormal(np.random.default_rng(0), 20, 2000)
    assert choose(scores, labels, rule="best_f1", prevalence=POPULATION).remarks == ()


def test_an_interval_that_reaches_below_the_floor_gives_a_remark():
    scores, labels = binormal(np.random.default_rng(0), 20, 200)
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=0.95)
    assert point.precision >= 0.95
    low, high = point.precision_interval
    assert low < 0.9
    assert point.remarks[-1] == (
        f"the 95 % interval of precision is {low:.3f} to {high:.3f}: the true precision may be "
        "below the floor of 0.95"
    )


def test_a_floor_that_is_not_expected_to_be_reached_gives_a_remark():
    point = choose(SCORES, LABELS, rule="recall_at_precision", precision_floor=0.999)
    assert point.precision == 1.0
    assert point.remarks[0].startswith("no threshold that reaches the precision floor of 0.999 is")


@pytest.mark.parametrize("prevalence", [0.0, 1.0, math.nan])
def test_a_prevalence_out_of_range_is_refused(prevalence):
    with pytest.raises(ValueError, match=r"prevalence, the share .* must be above 0 and below 1"):
        choose(SCORES, LABELS, rule="best_f1", prevalence=prevalence)


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(0)
    scores, labels = rng.random(60).round(1), rng.integers(0, 2, 60)
    shuffled = rng.permutation(60)
    for rule in ("best_f1", "recall_at_precision"):
        expected = choose(scores, labels, rule=rule)
        assert choose(scores[shuffled], labels[shuffled], rule=rule) == expected


def test_a_model_without_an_operating_point_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no operating point: .* does not exist"):
        operating_point.read(str(tmp_path))


def test_an_operating_point_is_read_without_tensorflow(tmp_path):
    point = choose(SCORES, LABELS, rule="best_f1")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/operating_point.json").write_text(point.to_json())
    script = (
        "import sys\n"
        "from components.calibrator import operating_point\n"
        "print(operating_point.read(sys.argv[1])['threshold'])\n"
        "assert not {'tensorflow', 'tfx', 'apache_beam'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == point.threshold
