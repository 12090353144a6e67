import json

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from components import training_balance
from components.trainer import bagging, history
from components.trainer.features import Rows
from components.trainer.replicates import DIVERGED, ArmRows, train_heads

LABELS = np.repeat([1, 0], [8, 72])
MEMBERS = 3


def _rows(seed: int) -> Rows:
    values = np.random.default_rng(seed).normal(LABELS[:, None], size=(LABELS.size, 6))
    return Rows(values.astype(np.float16), LABELS)


ROWS = ArmRows(train=_rows(0), val="val", evaluated={"val": _rows(1), "test": _rows(2)})


@pytest.fixture
def train(make_settings):
    def run(*seeds: int, **changes):
        settings = make_settings(model="xception", image_size=71, epochs=3, **changes)
        seen = []
        stacks = list(train_heads(settings, seeds, ROWS, on_epoch=seen.append))
        return [replicate for stack in stacks for replicate in stack], seen

    return run


def test_the_log_odds_are_the_mean_of_those_of_balanced_heads(train):
    (bagged, other), seen = train(1, 2, bagging=MEMBERS)
    members, _ = train(*bagging.member_seeds(1, MEMBERS), sampling_strategy="balanced")
    for split in ("val", "test"):
        log_odds = [special.logit(member.probabilities[split]) for member in members]
        assert np.ptp(log_odds, axis=0).max() > 0.01
        np.testing.assert_allclose(
            special.logit(bagged.probabilities[split]), np.mean(log_odds, axis=0), atol=1e-5
        )
    assert bagged.epochs[-1]["loss"] == pytest.approx(
        np.mean([member.epochs[-1]["loss"] for member in members])
    )
    assert len(seen) == len(bagged.epochs) + len(other.epochs) == 6
    assert not np.array_equal(bagged.weights[0], other.weights[0])


def test_heads_of_all_trainings_have_different_seeds():
    seeds = [seed for start in range(20) for seed in bagging.member_seeds(start, 10)]
    assert len(set(seeds)) == len(seeds)


def test_a_training_with_a_head_that_diverges_has_diverged(make_settings):
    huge = Rows(np.full((LABELS.size, 6), np.inf, np.float16), LABELS)
    rows = ArmRows(train=huge, val="val", evaluated={"val": huge})
    settings = make_settings(model="xception", image_size=71, bagging=2)
    ((found,),) = train_heads(settings, [1], rows, on_epoch=lambda epoch: None)
    assert found.status == DIVERGED
    assert found.detail.startswith("of 2 heads, 2: the loss is nan")


def test_the_heads_are_exported_as_one(run_trainer):
    folder, run = run_trainer(model="xception", image_size=71, bagging=2)
    bagged = json.loads((run / "history.json").read_text())
    assert bagged["trainable_parameters"] == 2049
    assert len(bagged["epochs"]) == 2
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    (bias,) = (reader.get_tensor(key) for key, shape in shapes.items() if shape == [1])
    assert bias != 0  # as it begins
    model = tf.saved_model.load(str(folder))
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    images = tf.constant([tf.io.encode_png(pixels).numpy()])
    found = model.signatures["predict_images"](images=images)["probability"]
    assert 0 < float(found[0, 0]) < 1
    balance = training_balance.read(str(folder))
    assert (balance.positive_images, balance.negative_images) == (4, 4)


def test_solved_heads_are_bagged_with_a_penalty_each(train):
    ((bagged,), _) = train(1, bagging=MEMBERS, optimizer="auto")
    members, _ = train(
        *bagging.member_seeds(1, MEMBERS), sampling_strategy="balanced", optimizer="auto"
    )
    for split in ("val", "test"):
        log_odds = [special.logit(member.probabilities[split]) for member in members]
        np.testing.assert_allclose(
            special.logit(bagged.probabilities[split]), np.mean(log_odds, axis=0), atol=1e-5
        )
    assert bagged.solver["penalties"] == [member.solver["penalty"] for member in members]
    assert bagged.solver["converged"]
    sentence = history.solver_sentence(bagged.solver)
    assert sentence.startswith("3 heads were solved by L-BFGS instead of trained in epochs, in ")
    assert sentence.endswith("by cross-validation inside train")
