import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.calibrator import operating_point
from components.calibrator.operating_point import choose

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1], np.float32)
LABELS = np.array([1, 1, 0, 1, 0, 0, 0, 0])


def test_a_threshold_lies_halfway_between_the_scores_that_it_parts():
    point = choose(SCORES, LABELS, rule="best_f1")
    assert point.threshold == pytest.approx(0.5)
    assert (point.precision, point.recall) == (0.75, 1.0)
    assert point.f1 == pytest.approx(6 / 7)
    assert (point.positives, point.negatives) == (3, 5)
    assert point.precision_floor is None


def test_recall_is_as_high_as_the_precision_floor_lets_it_be():
    point = choose(SCORES, LABELS, rule="recall_at_precision", precision_floor=0.9)
    assert point.threshold == pytest.approx(0.75)
    assert (point.precision, point.recall) == (1.0, pytest.approx(2 / 3))
    assert point.precision_floor == 0.9


def test_a_floor_that_just_holds_is_held():
    point = choose(SCORES, LABELS, rule="recall_at_precision", precision_floor=0.75)
    assert (point.precision, point.recall) == (0.75, 1.0)


def test_of_equal_recalls_the_more_precise_is_taken():
    # From 0.5 down, each lower threshold finds no more positives and more false ones.
    point = choose(SCORES, LABELS, rule="recall_at_precision", precision_floor=0.1)
    assert point.threshold == pytest.approx(0.5)


def test_a_floor_out_of_reach_is_refused_with_the_best_there_is():
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 0])
    message = r"floor of 0.9: the best precision is 0.5000, at a recall of 1.0000; lower"
    with pytest.raises(ValueError, match=message):
        choose(SCORES, labels, rule="recall_at_precision", precision_floor=0.9)


def test_a_fixed_threshold_counts_a_score_that_equals_it():
    point = choose(SCORES, LABELS, rule="fixed", threshold=0.8)
    assert point.threshold == np.float32(0.8)
    assert (point.precision, point.recall) == (1.0, pytest.approx(2 / 3))


def test_a_fixed_threshold_that_nothing_reaches_has_no_precision():
    point = choose(SCORES, LABELS, rule="fixed", threshold=0.95)
    assert (point.precision, point.recall, point.f1) == (0.0, 0.0, 0.0)


def test_equal_scores_are_never_parted():
    scores = np.array([0.5, 0.5, 0.5, 0.1], np.float32)
    point = choose(scores, np.array([1, 0, 1, 0]), rule="best_f1")
    assert point.threshold == pytest.approx(0.3)
    assert point.recall == 1.0


def test_when_all_scores_are_the_same_every_image_is_positive():
    point = choose(np.full(4, 0.2), np.array([1, 0, 0, 0]), rule="best_f1")
    assert point.threshold <= np.float32(0.2)
    assert (point.precision, point.recall) == (0.25, 1.0)


def test_scores_of_zero_and_one_are_parted():
    point = choose(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1, 1, 0, 0]), rule="best_f1")
    assert (point.threshold, point.f1) == (0.5, 1.0)


# Half-way between neighbours is rounded up from the one and down from the other.
@pytest.mark.parametrize("low", [np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))])
def test_neighbours_in_float32_are_parted_alike_in_float32_and_float64(low):
    high = np.nextafter(low, np.float32(1))
    point = choose(np.array([high, low, 0.1, 0.05]), np.array([1, 0, 0, 0]), rule="best_f1")
    for score, called in ((high, True), (low, False)):
        assert (np.float32(score) >= np.float32(point.threshold)) == called
        assert (float(score) >= point.threshold) == called


@pytest.mark.parametrize(
    ("scores", "labels", "arguments", "message"),
    [
        ([0.1, 0.2], [0, 0], {"rule": "best_f1"}, "are 0 positive and 2 negative ones"),
        ([0.1, 0.2], [1, 1], {"rule": "best_f1"}, "are 2 positive and 0 negative ones"),
        ([0.1, np.nan], [1, 0], {"rule": "best_f1"}, "not numbers from 0 to 1"),
        ([0.1, 1.5], [1, 0], {"rule": "best_f1"}, "not numbers from 0 to 1"),
        ([0.1], [1, 0], {"rule": "best_f1"}, r"shapes \(1,\) and \(2,\)"),
        ([0.1, 0.2], [1, 0], {"rule": "youden"}, "Received: 'youden'"),
        ([0.1, 0.2], [1, 0], {"rule": "fixed", "threshold": 1.5}, "Received: 1.5"),
    ],
)
def test_what_can_not_be_judged_is_refused(scores, labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        choose(np.array(scores), np.array(labels), **arguments)


_IMAGES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=2, max_size=40
).filter(lambda images: 0 < sum(label for _, label in images) < len(images))


@settings(deadline=None)
@given(images=_IMAGES, rule=st.sampled_from(["best_f1", "recall_at_precision"]))
def test_the_figures_are_those_of_the_threshold(images, rule):
    scores, labels = (np.array(column) for column in zip(*images, strict=True))
    point = choose(scores, labels, rule=rule)
    called = scores.astype(np.float32) >= np.float32(point.threshold)
    true_positives = int(labels[called].sum())
    assert called.any()
    assert point.precision == pytest.approx(true_positives / called.sum())
    assert point.recall == pytest.approx(true_positives / labels.sum())
    assert point.f1 == pytest.approx(2 * true_positives / (called.sum() + labels.sum()))


@settings(deadline=None)
@given(images=_IMAGES, floor=st.floats(0, 1))
def test_no_threshold_has_more_recall_at_the_floor(images, floor):
    scores, labels = (np.array(column) for column in zip(*images, strict=True))
    scores = scores.astype(np.float32)
    reached = []
    for threshold in scores:
        called = scores >= threshold
        if labels[called].mean() >= floor:
            reached.append(labels[called].sum() / labels.sum())
    if not reached:
        with pytest.raises(ValueError, match="no threshold reaches the precision floor"):
            choose(scores, labels, rule="recall_at_precision", precision_floor=floor)
        return
    point = choose(scores, labels, rule="recall_at_precision", precision_floor=floor)
    assert point.precision >= floor
    assert point.recall == pytest.approx(max(reached))


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(0)
    scores, labels = rng.random(60).round(1), rng.integers(0, 2, 60)
    shuffled = rng.permutation(60)
    for rule in ("best_f1", "recall_at_precision"):
        expected = choose(scores, labels, rule=rule)
        assert choose(scores[shuffled], labels[shuffled], rule=rule) == expected


def test_a_model_without_an_operating_point_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no operating point .* was it calibrated"):
        operating_point.read(str(tmp_path))


def test_it_is_read_without_tensorflow(tmp_path):
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
