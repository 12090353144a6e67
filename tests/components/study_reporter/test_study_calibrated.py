import csv
from dataclasses import replace

import numpy as np
import pytest

from components.evaluator.probability_quality import figures as quality_of
from components.study_reporter import bootstrap, calibrated, record
from components.study_reporter.p_values import holm
from components.training_balance import TrainingBalance

PREVALENCE = 1 / 51


def _split(seed: int, *, slope: float = 1.0, shift: float = 0.0, replicates: int = 2):
    """Scores of replicates whose log odds are `slope` times the true ones plus `shift`."""
    labels = np.repeat([1, 0], [150, 1500])
    z = np.random.default_rng(seed).normal(2.0 * labels - 1, size=(replicates, labels.size))
    rows = 1 / (1 + np.exp(-(slope * (2 * z - np.log(10)) + shift)))
    ids = np.array([f"{index:04d}" for index in range(labels.size)])
    return record.SplitScores(ids, labels, labels.astype(str), rows.astype(np.float32))


def _arm(*, balance: TrainingBalance | None = None, **changes) -> record.Arm:
    recorded = {} if balance is None else {"training_balance": vars(balance)}
    scores = {"val": _split(0, **changes), "test": _split(1, **changes)}
    return record.Arm("a", {"val_split": "val", **recorded}, [], scores, None)


def _evaluated(arm: record.Arm) -> calibrated.CalibratedArm:
    found = calibrated.calibrations(arm, 1 / 11)
    return calibrated.evaluate(arm.scores["test"], found, 1 / 11)


def test_each_replicate_is_calibrated_with_the_balance_of_its_arm():
    balance = TrainingBalance(positive_images=100, negative_images=100)
    arm = _arm(balance=balance, shift=np.log(10))
    for each in calibrated.calibrations(arm, 1 / 11):
        assert each.prior_shift.shift == pytest.approx(-np.log(10))
    assert all(each.remarks for each in calibrated.calibrations(_arm(), 1 / 11))


def test_replicates_with_equal_scores_are_calibrated_once(monkeypatch):
    arm, calls, calibrate = _arm(replicates=2), [], calibrated.calibrate
    val = arm.scores["val"]
    twice = replace(val, probabilities=np.repeat(val.probabilities, 2, axis=0))
    expected = calibrated.calibrations(arm, 1 / 11)

    def noted(*arguments, **options):
        calls.append(arguments)
        return calibrate(*arguments, **options)

    monkeypatch.setattr(calibrated, "calibrate", noted)
    found = calibrated.calibrations(replace(arm, scores={"val": twice}), 1 / 11)
    assert found == [expected[0], expected[0], expected[1], expected[1]]
    assert len(calls) == 2


def test_a_shift_changes_figures_before_the_calibration_and_not_after():
    plain, shifted = _evaluated(_arm()), _evaluated(_arm(shift=4))
    for metric in ("log_loss", "brier", "ece"):
        before, after = (
            shifted.quality[stage][metric] - plain.quality[stage][metric]
            for stage in calibrated.STAGES
        )
        assert (before > 0.02).all(), metric
        np.testing.assert_allclose(after, 0, atol=0.004, err_msg=metric)
    assert (shifted.at_half["before"]["f1"] < plain.at_half["before"]["f1"] - 0.1).all()
    np.testing.assert_allclose(
        shifted.at_half["after"]["f1"], plain.at_half["after"]["f1"], atol=0.03
    )


def test_the_figures_before_are_those_of_the_scores():
    found, scores = _evaluated(_arm(slope=2)), _arm(slope=2).scores["test"]
    expected = [quality_of(scores.labels, row, 1 / 11) for row in scores.probabilities]
    for metric in calibrated.QUALITY:
        assert found.quality["before"][metric].tolist() == [each[metric] for each in expected]


def test_summaries_count_the_maps_and_have_both_stages():
    summary = calibrated.summary(_evaluated(_arm(slope=3)))
    assert sum(summary["maps"].values()) == 2
    assert "none" not in summary["maps"]
    for stage in calibrated.STAGES:
        assert summary[stage]["log_loss"]["replicates"] == 2
        assert 0 < summary[stage]["f1"]["mean"] < 1


def test_drawn_means_vary_around_the_weighted_mean():
    found = _split(0)
    losses = np.abs(found.labels - found.probabilities.astype(float))
    drawn = bootstrap.means(found.labels, losses, prevalence=0.3)
    expected = 0.3 * losses[:, :150].mean(axis=1) + 0.7 * losses[:, 150:].mean(axis=1)
    np.testing.assert_allclose(drawn.mean(axis=1), expected, rtol=0.01)
    error = np.hypot(
        0.3 * losses[:, :150].std(axis=1) / np.sqrt(150),
        0.7 * losses[:, 150:].std(axis=1) / np.sqrt(1500),
    )
    np.testing.assert_allclose(drawn.std(axis=1), error, rtol=0.06)


def test_the_study_answers_whether_differences_remain_after_calibration(shifted):
    _, folder, figures = shifted
    sentence = figures["answer"]["splits"]["test"]["calibration"]
    assert sentence.startswith("With all arms calibrated on val, and at 0.5, 1,100 images and 9 ")
    assert "can no longer show a difference in real-world F1" in sentence
    assert sentence.endswith(
        "Differences in log loss that can be shown: 3 of 3 before, 0 of 3 after."
    )
    assert sentence in (folder / "study.html").read_text(encoding="utf-8")


def test_comparisons_have_a_family_for_each_metric_and_stage(shifted):
    rows = shifted[2]["calibration"]["comparisons"]
    kinds = {(row["metric"], row["stage"]) for row in rows}
    assert len(kinds) == 6
    for kind in kinds:
        family = [row for row in rows if (row["metric"], row["stage"]) == kind]
        assert len(family) == 3
        expected = holm([row["p"] for row in family])
        assert [row["p_corrected"] for row in family] == pytest.approx(expected)
    loss = {
        (row["stage"], row["first"], row["second"]): row
        for row in rows
        if row["metric"] == "log_loss"
    }
    before = loss["before", "unbalanced", "balanced"]
    assert before["difference"] < before["interval"][1] < 0
    assert before["p_corrected"] < 0.001


def test_log_losses_are_at_the_prevalence_of_the_study(shifted):
    study, _, figures = shifted
    found = figures["arms"][0]["tests"]["test"]["calibration"]
    assert found["prevalence"] == pytest.approx(PREVALENCE)
    labels, _ = study.images("test")
    rows = [study.probabilities(study.arms[0], 0, number, "test") for number in range(10)]
    losses = [quality_of(labels, row.astype(np.float32), PREVALENCE)["log_loss"] for row in rows]
    assert found["before"]["log_loss"]["mean"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["after"]["log_loss"]["mean"] < found["before"]["log_loss"]["mean"]


def test_the_table_of_runs_has_each_replicates_calibration(shifted):
    rows = list(csv.DictReader((shifted[1] / "runs.csv").open(encoding="utf-8")))
    first = rows[0]
    assert first["calibration"] in {"none", "temperature", "platt", "beta"}
    assert float(first["log_loss_after"]) < float(first["log_loss_before"])
    diverged = next(row for row in rows if row["status"] == "diverged")
    assert diverged["calibration"] == diverged["ece_after"] == ""
