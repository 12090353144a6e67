"""An arm's trainings, on images and on features, whole and cut off."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components.evaluator import metrics
from components.example_files import shard_name, split_dir
from components.images import rules
from components.trainer import arm as arm_module
from components.trainer import replicates
from components.trainer.arm import run_fn
from components.trainer.models import pooled_penalty

FEATURES = 6
ON_FEATURES = {"model": "xception", "image_size": 71, "head": "pooled", "learning_rate": 0.05}
ARM = {
    "name": "tried",
    "train_split": "train",
    "val_split": "val",
    "test_splits": ["test"],
    "replicates": 3,
}


def _feature_example(index: int, label: int, rng: np.random.Generator) -> bytes:
    values = (rng.normal(size=FEATURES) + label).astype(np.float16)
    features = tf.train.Features()
    features.feature["features"].bytes_list.value.append(values.tobytes())
    features.feature["features_shape"].int64_list.value.append(FEATURES)
    features.feature["label"].int64_list.value.append(label)
    features.feature["image_id"].bytes_list.value.append(f"{index:064x}".encode())
    features.feature["class_name"].bytes_list.value.append(b"dogs" if label else b"cats")
    return tf.train.Example(features=features).SerializeToString()


def _write_features(uri: Path, *, seed: int) -> Path:
    """Examples of features: train of 40, val of 20, test of 24 images, a quarter positive."""
    rng = np.random.default_rng(seed)
    for split, count in {"train": 40, "val": 20, "test": 24}.items():
        folder = Path(split_dir(str(uri), split))
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
            for index in range(count):
                writer.write(_feature_example(index, int(index % 4 == 0), rng))
    return uri


@pytest.fixture(scope="module")
def featured(tmp_path_factory) -> Path:
    return _write_features(tmp_path_factory.mktemp("featured"), seed=0)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory, write_split) -> Path:
    """Examples of images, the same splits in small."""
    uri = tmp_path_factory.mktemp("pictured")
    for place, split in enumerate(["train", "val", "test"]):
        write_split(uri, split, 8, 4, first_seed=1000 * place)
    return uri


class Ran:
    """What an arm left."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.about = json.loads((folder / "run/arm.json").read_text())
        self.replicates = json.loads((folder / "run/replicates.json").read_text())
        self.predictions = pd.read_parquet(folder / "run/predictions.parquet")

    def probabilities(self, replicate: int, split: str = "test") -> np.ndarray:
        rows = self.predictions
        chosen = (rows["replicate"] == replicate) & (rows["split"] == split)
        return rows.loc[chosen, "probability"].to_numpy()


@pytest.fixture
def run_arm(make_settings, tmp_path):
    def run(uri: Path, name: str = "arm", *, arm: dict | None = None, **changes) -> Ran:
        folder = tmp_path / name
        arm = ARM | (arm or {})
        run_fn(
            FnArgs(
                train_files=[f"{uri}/Split-{arm['train_split']}/*"],
                eval_files=[f"{uri}/Split-{split}/*" for split in ("val", "test")],
                serving_model_dir=str(folder / "model"),
                model_run_dir=str(folder / "run"),
                custom_config={
                    "trainer": make_settings(**changes).model_dump(),
                    "arm": arm,
                    "checkpoint_root": str(tmp_path / "checkpoints"),
                },
            )
        )
        return Ran(folder)

    return run


def test_an_arm_tells_what_it_is(featured, run_arm):
    about = run_arm(featured, **ON_FEATURES).about
    assert about["arm"] == "tried"
    assert about["settings"]["learning_rate"] == 0.05
    assert about["splits"]["train"] == {"positives": 10, "negatives": 30}
    assert set(about["splits"]) == {"train", "val", "test"}


@pytest.mark.parametrize("on", ["features", "images"])
def test_every_replicate_has_epochs_and_a_probability_for_each_judged_image(
    on, featured, pictured, run_arm
):
    uri, changes = (featured, ON_FEATURES) if on == "features" else (pictured, {"image_size": 16})
    ran = run_arm(uri, arm={"replicates": 2}, **changes)
    assert [each["status"] for each in ran.replicates] == ["trained", "trained"]
    assert [each["random_state"] for each in ran.replicates] == [42, 43]
    assert [len(each["epochs"]) for each in ran.replicates] == [2, 2]
    last = ran.replicates[0]["epochs"][-1]
    assert {"loss", "val_loss", "tp", "fp", "tn", "fn", "val_pr_auc", "learning_rate"} <= set(last)
    counts = ran.predictions.groupby(["replicate", "split"]).size()
    images = {"features": (20, 24), "images": (12, 12)}[on]
    assert [counts[0, "val"], counts[0, "test"]] == list(images)
    assert len(counts) == 4
    assert ran.predictions["probability"].between(0, 1).all()
    assert list(ran.probabilities(0)) != list(ran.probabilities(1))


def test_the_figures_of_val_are_those_of_its_kept_probabilities(featured, run_arm):
    ran = run_arm(featured, **ON_FEATURES)
    rows = ran.predictions.query("replicate == 1 and split == 'val'")
    called = rows["probability"] >= 0.5
    last = ran.replicates[1]["epochs"][-1]
    assert last["val_tp"] == int((called & (rows["label"] == 1)).sum())
    assert last["val_fp"] == int((called & (rows["label"] == 0)).sum())


def test_a_replicate_is_the_same_whatever_stack_it_is_in(featured, run_arm, monkeypatch):
    together = run_arm(featured, "together", **ON_FEATURES)
    monkeypatch.setattr(replicates, "stack_size", lambda parameters: 1)
    alone = run_arm(featured, "alone", **ON_FEATURES)
    for number in range(3):
        np.testing.assert_allclose(
            together.probabilities(number), alone.probabilities(number), atol=1e-5
        )


def test_early_stopping_ends_each_replicate_by_itself(featured, run_arm):
    ran = run_arm(featured, **ON_FEATURES | {"epochs": 30, "early_stopping": 2})
    for number, replicate in enumerate(ran.replicates):
        watched = [epoch["val_pr_auc"] for epoch in replicate["epochs"]]
        best = int(np.argmax(watched))
        assert len(watched) == min(30, best + 3)
        kept = ran.predictions.query(f"replicate == {number} and split == 'val'")
        found = metrics.curve(kept["label"].to_numpy(), kept["probability"].to_numpy())
        assert metrics.average_precision(found) == pytest.approx(watched[best])


def test_val_loss_is_that_of_the_kept_epoch_with_the_penalty_within(featured, run_arm):
    ran = run_arm(featured, **ON_FEATURES | {"epochs": 30, "early_stopping": 2})
    epochs = ran.replicates[0]["epochs"]
    kept = epochs[int(np.argmax([epoch["val_pr_auc"] for epoch in epochs]))]
    rows = ran.predictions.query("replicate == 0 and split == 'val'")
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy(np.float64)
    entropy = -np.log(np.where(labels == 1, probabilities, 1 - probabilities)).mean()
    with np.load(ran.folder / "model" / arm_module.WEIGHTS_FILE) as saved:
        squares = np.square(saved["arr_0"]).sum()
    assert kept["val_loss"] == pytest.approx(entropy + pooled_penalty(40) * squares, abs=1e-5)
    assert kept is not epochs[-1]


def test_the_learning_rate_of_each_replicate_falls_on_its_own_plateau(featured, run_arm):
    changes = ON_FEATURES | {"epochs": 4, "learning_rate": 1e-9, "reduce_lr_on_plateau": 1}
    for replicate in run_arm(featured, **changes).replicates:
        rates = [epoch["learning_rate"] for epoch in replicate["epochs"]]
        assert rates == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11])


@pytest.mark.parametrize("on", ["features", "images"])
def test_a_diverging_arm_says_so_and_does_not_fail(on, featured, pictured, run_arm):
    uri, changes = (featured, ON_FEATURES) if on == "features" else (pictured, {"image_size": 16})
    wild = {"class_weight": {"positive": 1e38, "negative": 1e38}, "learning_rate": 10.0}
    ran = run_arm(uri, arm={"replicates": 2}, **changes | wild)
    assert [each["status"] for each in ran.replicates] == ["diverged", "diverged"]
    assert "loss is" in ran.replicates[0]["detail"]
    assert ran.predictions.empty


def _cut_off_after(number: int, original) -> object:
    def trained(self, seeds) -> Iterator[replicates.Replicate]:
        for index, replicate in enumerate(original(self, seeds)):
            if index == number:
                raise KeyboardInterrupt
            yield replicate

    return trained


@pytest.fixture
def cut_off(featured, run_arm, monkeypatch):
    """An arm on features that ended after two of its replicates."""
    original = arm_module._ArmTraining._trained
    with monkeypatch.context() as patch:
        patch.setattr(arm_module._ArmTraining, "_trained", _cut_off_after(2, original))
        with pytest.raises(KeyboardInterrupt):
            run_arm(featured, "again", **ON_FEATURES)


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The seeds that are trained from here on."""
    original = arm_module._ArmTraining._trained
    seeds: list[int] = []

    def spy(self, wanted):
        seeds.extend(wanted)
        return original(self, wanted)

    monkeypatch.setattr(arm_module._ArmTraining, "_trained", spy)
    return seeds


@pytest.mark.usefixtures("cut_off")
def test_an_arm_that_was_cut_off_trains_only_what_is_missing(featured, run_arm, asked):
    again = run_arm(featured, "again", **ON_FEATURES)
    assert asked == [44]
    whole = run_arm(featured, "whole", **ON_FEATURES)
    for number in range(3):
        np.testing.assert_allclose(
            again.probabilities(number), whole.probabilities(number), atol=1e-5
        )


@pytest.mark.usefixtures("cut_off")
def test_replicates_of_other_settings_are_not_gone_on_with(featured, run_arm, asked):
    run_arm(featured, "again", **ON_FEATURES | {"learning_rate": 0.04})
    assert asked == [42, 43, 44]


@pytest.mark.usefixtures("cut_off")
def test_replicates_of_other_images_are_not_gone_on_with(run_arm, asked, tmp_path):
    run_arm(_write_features(tmp_path / "others", seed=1), "again", **ON_FEATURES)
    assert asked == [42, 43, 44]


@pytest.mark.usefixtures("cut_off")
def test_replicates_of_images_read_by_other_rules_are_not_resumed(
    featured, run_arm, asked, monkeypatch
):
    monkeypatch.setattr(rules, "VERSION", rules.VERSION + 1)
    run_arm(featured, "again", **ON_FEATURES)
    assert asked == [42, 43, 44]


def test_nothing_is_left_for_resuming_when_an_arm_is_done(featured, run_arm, tmp_path):
    run_arm(featured, **ON_FEATURES)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_no_replicate_is_refused(featured, run_arm):
    with pytest.raises(ValueError, match="1 replicate or more"):
        run_arm(featured, arm={"replicates": 0}, **ON_FEATURES)
