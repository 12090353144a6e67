"""Arms are compared at the real world's share of positives, whatever that of the test split is."""

import html
import json

import numpy as np
import pytest
from study_on_disk import ArmOnDisk, StudyOnDisk

from components.evaluator import metrics
from components.study_reporter import bootstrap, calibrated, comparisons, plots, summary
from components.study_reporter.comparisons import COMPARED
from components.study_reporter.record import SplitScores

PREVALENCE = 1 / 11
PAIR = ("eager", "careful")
SPLITS = {"train": (1, 1), "val": (60, 600), "balanced": (400, 400), "own": (400, 4000)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two arms, of which one calls far more negatives positive at 0.5, on two test splits."""
    arms = [
        ArmOnDisk("careful", test_splits=("balanced", "own")),
        ArmOnDisk("eager", shift=2.5, test_splits=("balanced", "own")),
    ]
    on_disk = StudyOnDisk(tmp_path_factory.mktemp("real") / "arms", arms, SPLITS, replicates=4)
    return on_disk.write()


@pytest.fixture(scope="module")
def tests(study):
    return summary.evaluate(study.read(), PREVALENCE)


@pytest.fixture(scope="module")
def report(study):
    return study.report(prevalence=PREVALENCE)


@pytest.fixture(scope="module")
def figures(report):
    return json.loads((report / "study.json").read_text())


def differences(rows, split):
    return {
        (row["metric"], row["threshold"]): row["difference"]
        for row in rows
        if row["split"] == split and (row["first"], row["second"]) == PAIR
    }


def test_a_balanced_test_split_shows_what_a_representative_one_shows(tests):
    rows = comparisons.compare_all(tests, [PAIR])
    balanced, own = (differences(rows, split) for split in ("balanced", "own"))
    assert own["f1", "at_half"] < -0.1
    for key, difference in own.items():
        assert balanced[key] == pytest.approx(difference, abs=0.05), key
    without = comparisons.compare_all(
        {"balanced": {name: _as_it_is(arm) for name, arm in tests["balanced"].items()}}, [PAIR]
    )
    assert differences(without, "balanced")["f1", "at_half"] > own["f1", "at_half"] / 2


def _as_it_is(arm):
    """Returns an arm of a study without a prevalence."""
    kept = {**vars(arm), "at_prevalence": None, "compared_at": None}
    return comparisons.EvaluatedArm(**kept)


def test_a_difference_is_that_of_the_figures_at_the_prevalence(figures):
    eager, careful = (
        next(arm["tests"]["balanced"] for arm in figures["arms"] if arm["arm"] == name)
        for name in PAIR
    )
    for (metric, threshold), found in differences(figures["comparisons"], "balanced").items():
        values = [
            test[threshold]["recall"]
            if metric == "recall"
            else _at_prevalence(test, threshold)[metric]
            for test in (eager, careful)
        ]
        assert found == pytest.approx(values[0]["mean"] - values[1]["mean"])
    shares = {row["split"]: row["prevalence"] for row in figures["comparisons"]}
    assert shares == {"balanced": PREVALENCE, "own": None}


def _at_prevalence(test, threshold):
    return test["at_prevalence"] if threshold is None else test["at_prevalence"][threshold]


def test_calibrated_arms_are_compared_at_the_prevalence_too(tests):
    for arm in tests["balanced"].values():
        for stage in calibrated.STAGES:
            found = arm.calibrated.at_half[stage]
            expected = metrics.rates_at_prevalence(
                found["recall"], found["fp"] / (found["fp"] + found["tn"]), PREVALENCE
            )
            np.testing.assert_allclose(found["f1"], expected["f1"])
    rows = comparisons.calibrated_all(tests, [PAIR])
    before = {
        row["split"]: row["difference"]
        for row in rows
        if row["stage"] == "before" and row["metric"] == "f1"
    }
    assert before["balanced"] == pytest.approx(before["own"], abs=0.05)


def test_the_page_says_at_which_share_it_compares(figures, report):
    page = html.unescape((report / "study.html").read_text())
    assert "Of the images in “balanced”, 50 % are positive" in page
    assert "compared at the real world's 9.1 %" in page
    assert "Of the images in “own”" not in page
    for label in ("accuracy", "PR-AUC", "F1", "precision"):
        assert f"{label}, real world</th>" in page
    balanced, own = (figures["answer"]["splits"][split] for split in ("balanced", "own"))
    assert "real-world F1" in balanced["thresholds"]
    assert "smallest difference in real-world F1" in balanced["smallest"]
    assert "recall" in balanced["at_half"]["recall"]
    assert "real-world" not in "".join([own["thresholds"], own["smallest"], own["pr_auc"]])
    assert "real-world recall" not in json.dumps(figures["answer"])


def test_precision_over_recall_is_drawn_at_the_prevalence(tests):
    drawn = {split: plots.curves(tests[split])["careful"].mean(axis=0) for split in tests}
    np.testing.assert_allclose(drawn["balanced"], drawn["own"], atol=0.1)
    as_it_is = plots.precision_at_recall(tests["balanced"]["careful"].scores).mean(axis=0)
    assert as_it_is[-1] > drawn["balanced"][-1] + 0.2


@pytest.mark.parametrize("all_tested", [True, False])
def test_metrics_in_a_resample_are_those_of_its_images_at_the_prevalence(all_tested):
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [12, 30])
    rows = np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.2, (3, 42)), 0, 1), 1)
    present = np.ones(rows.shape, bool) if all_tested else rng.random(rows.shape) < 0.7
    rows = np.where(present, rows, np.nan).astype(np.float32)
    found = bootstrap.rates(labels, rows >= 0.5, present=present, draws=8, prevalence=PREVALENCE)
    areas = bootstrap.average_precisions(labels, rows, draws=8, prevalence=PREVALENCE)
    weights = np.concatenate(list(bootstrap.image_weights(labels == 1, 8)), axis=1).astype(int)
    for model, row in enumerate(rows):
        for draw in range(8):
            images = np.repeat(np.arange(42), weights[:, draw] * present[model])
            counts = metrics.confusion(labels[images], row[images] >= 0.5)
            expected = metrics.rates_at_prevalence(
                counts.recall, counts.false_positive_rate, PREVALENCE
            )
            for name in found:
                assert found[name][model, draw] == pytest.approx(float(expected[name]))
            area = metrics.average_precision(labels[images], row[images], PREVALENCE)
            assert areas[model, draw] == pytest.approx(area, abs=1e-6)


def test_a_share_of_positives_is_that_of_a_draw_and_not_of_all_its_images():
    # Of 2 positives and 8 others, each draw tests on both positives and half of the others.
    probabilities = np.full((2, 10), 0.5, np.float32)
    probabilities[0, 2:6] = probabilities[1, 6:] = np.nan
    labels = np.array([1, 1] + [0] * 8)
    found = SplitScores(np.arange(10).astype(str), labels, np.full(10, ""), probabilities)
    assert found.share == pytest.approx(2 / 6)
    maps = calibrated.calibrate(
        probabilities[0, found.present[0]],
        labels[found.present[0]],
        prevalence=None,
        balance=None,
    )
    arm = calibrated.evaluate(found, [maps, maps], prevalence=None)
    assert arm.prevalence == pytest.approx(2 / 6)


def test_a_study_without_a_prevalence_compares_splits_as_they_are(study):
    found = summary.evaluate(study.read(), None)
    assert {arm.compared_at for arms in found.values() for arm in arms.values()} == {None}
    rows = comparisons.compare_all(found, [PAIR])
    assert len(rows) == 2 * (2 * len(COMPARED) - 1)
    shown = (differences(rows, split)["f1", "at_half"] for split in ("balanced", "own"))
    assert next(shown) > next(shown) / 2
