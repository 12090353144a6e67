"""Heads trained in different ways on the same features agree once they are calibrated."""

import itertools

import numpy as np
import pytest

from components.calibrator.calibration import calibrate
from components.evaluator.probability_quality import reliability
from components.trainer.features import Rows
from components.trainer.replicates import ArmRows, train_heads
from components.trainer.sampling import training_balance
from components.trainer.settings import TrainerSettings

PREVALENCE = 1 / 11
FEATURES = 6
WAYS = {
    "representative": {},
    "balanced": {"sampling_strategy": "balanced"},
    "class_weight": {"class_weight": "balanced"},
    "oversample": {"sampling_strategy": "oversample"},
    "undersample": {"sampling_strategy": {"undersample": 0.5}},
    "focal": {"loss": "focal"},
}


def _rows(positives: int, negatives: int, seed: int) -> Rows:
    """Normal features, whose mean differs between the sides: the true log odds are linear."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    values = rng.normal(0.5 * (2.0 * labels[:, None] - 1), size=(labels.size, FEATURES))
    return Rows(values.astype(np.float16), labels)


@pytest.fixture(scope="module")
def trained():
    """By way of training, its balance and the scores of val and test; the labels by split."""
    rows = {"val": _rows(300, 3000, 1), "test": _rows(2000, 20_000, 2)}
    splits = ArmRows(train=_rows(300, 3000, 0), val="val", evaluated=rows)
    # Not solved: such a head is calibrated already if train has the population's balance.
    common = {"model": "xception", "epochs": 8, "batch_size": 64, "learning_rate": 0.02}
    common |= {"optimizer": "adam"}
    found = {}
    for name, changes in WAYS.items():
        settings = TrainerSettings.model_validate(common | changes)
        ((replicate,),) = train_heads(settings, [7], splits, on_epoch=lambda epoch: None)
        balance = training_balance(splits.train.labels, settings)
        found[name] = balance, replicate.probabilities
    return found, {split: each.labels for split, each in rows.items()}


@pytest.fixture(scope="module")
def stages(trained):
    """Test's scores, and probabilities by the closed form and calibrated, by way; its labels."""
    found, labels = trained
    probabilities = {}
    for name, (balance, scores) in found.items():
        closed_form, calibrated = (
            calibrate(
                scores["val"],
                labels["val"],
                prevalence=PREVALENCE,
                balance=balance,
                requested=requested,
            ).probabilities(scores["test"])
            for requested in ("none", "auto")
        )
        probabilities[name] = scores["test"], closed_form, calibrated
    return probabilities, labels["test"]


def _mean_absolute_difference(probabilities, stage: int) -> float:
    pairs = itertools.combinations([each[stage] for each in probabilities.values()], 2)
    return max(float(np.abs(first - second).mean()) for first, second in pairs)


def test_the_ways_of_training_agree_after_calibration(stages):
    probabilities, _ = stages
    before, _, after = (_mean_absolute_difference(probabilities, stage) for stage in range(3))
    assert before > 0.15
    assert after < 0.015


def test_every_way_is_calibrated_at_the_prevalence(stages):
    probabilities, labels = stages
    for name, (scores, closed_form, calibrated) in probabilities.items():
        before, between, after = (
            reliability(labels, each, PREVALENCE, seed=0)
            for each in (scores, closed_form, calibrated)
        )
        assert after["ece"] < 0.012, name
        assert after["intervals"]["ece"][1] < 0.02, name
        assert after["log_loss"] <= before["log_loss"] + 1e-4, name
        # The intervals of both do not overlap.
        assert before["intervals"]["ece"][0] > after["intervals"]["ece"][1], name
        assert between["ece"] <= before["ece"], name
