"""An arm's trainings, on images and on features, complete and interrupted."""

import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from damage import empty, flip_a_bit, halve
from listed import list_files
from scipy.special import expit
from tfx.components.trainer.fn_args_utils import FnArgs

from components import arm_predictions
from components.evaluator import metrics
from components.example_files import shard_name, split_dir
from components.imbalance_sampler import draws as drawn_splits
from components.trainer import arm as arm_module
from components.trainer import history, replicates
from components.trainer.arm import run_fn
from components.trainer.settings import POOLED_HEAD_C
from components.training_balance import TrainingBalance

FEATURES = 6
ON_FEATURES = {"model": "xception", "image_size": 71, "head": "pooled", "learning_rate": 0.05}
SOLVED = ON_FEATURES | {"optimizer": "auto"}
ARM = {
    "name": "tried",
    "train_split": "train",
    "val_split": "val",
    "test_splits": ["test"],
    "replicates": 3,
}


def _feature_example(index: int, label: int, scale: float, rng: np.random.Generator) -> bytes:
    values = (scale * (rng.normal(size=FEATURES) + label)).astype(np.float16)
    features = tf.train.Features()
    features.feature["features"].bytes_list.value.append(values.tobytes())
    features.feature["features_shape"].int64_list.value.append(FEATURES)
    features.feature["label"].int64_list.value.append(label)
    features.feature["image_id"].bytes_list.value.append(f"{index:064x}".encode())
    features.feature["class_name"].bytes_list.value.append(b"dogs" if label else b"cats")
    return tf.train.Example(features=features).SerializeToString()


def _write_features(uri: Path, *, seed: int, scale: float = 1.0) -> Path:
    """Writes Examples of features: 40 train, 20 val and 24 test images, a quarter positive."""
    rng = np.random.default_rng(seed)
    for split, count in {"train": 40, "val": 20, "test": 24}.items():
        folder = Path(split_dir(str(uri), split))
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
            for index in range(count):
                writer.write(_feature_example(index, int(index % 4 == 0), scale, rng))
    list_files(uri)
    return uri


@pytest.fixture(scope="module")
def featured(tmp_path_factory) -> Path:
    return _write_features(tmp_path_factory.mktemp("featured"), seed=0)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory, write_split) -> Path:
    """Smaller Examples of images, with the same splits."""
    uri = tmp_path_factory.mktemp("pictured")
    for place, split in enumerate(["train", "val", "test"]):
        write_split(uri, split, 8, 4, first_seed=1000 * place)
    return uri


class ArmResult:
    """The files that an arm wrote."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.summary = json.loads((folder / "run/arm.json").read_text())
        self.replicates = json.loads((folder / "run/replicates.json").read_text())
        self.predictions = arm_predictions.read(str(folder / "run"))

    def probabilities(self, replicate: int, split: str = "test") -> np.ndarray:
        rows = self.predictions
        chosen = (rows["replicate"] == replicate) & (rows["split"] == split)
        return rows.loc[chosen, "probability"].to_numpy()


@pytest.fixture
def run_arm(make_settings, tmp_path):
    def run(uri: Path, name: str = "arm", *, arm: dict | None = None, **changes) -> ArmResult:
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
        return ArmResult(folder)

    return run


def test_an_arm_records_its_settings_and_splits(featured, run_arm):
    summary = run_arm(featured, **ON_FEATURES).summary
    assert summary["arm"] == "tried"
    assert summary["settings"]["learning_rate"] == 0.05
    assert summary["splits"]["train"] == {"positives": 10, "negatives": 30}
    assert set(summary["splits"]) == {"train", "val", "test"}
    balance = TrainingBalance.from_mapping(summary["training_balance"])
    assert (balance.positive_images, balance.negative_images) == (10, 30)


@pytest.mark.parametrize("on", ["features", "images"])
def test_every_replicate_has_epochs_and_a_probability_for_each_evaluated_image(
    on, featured, pictured, run_arm
):
    uri, changes = (featured, ON_FEATURES) if on == "features" else (pictured, {"image_size": 16})
    result = run_arm(uri, arm={"replicates": 2}, **changes)
    assert [each["status"] for each in result.replicates] == ["trained", "trained"]
    assert [each["random_state"] for each in result.replicates] == [42, 43]
    assert [len(each["epochs"]) for each in result.replicates] == [2, 2]
    last = result.replicates[0]["epochs"][-1]
    assert {"loss", "val_loss", "tp", "fp", "tn", "fn", "val_pr_auc", "learning_rate"} <= set(last)
    counts = result.predictions.groupby(["replicate", "split"]).size()
    images = {"features": (20, 24), "images": (12, 12)}[on]
    assert [counts[0, "val"], counts[0, "test"]] == list(images)
    assert len(counts) == 4
    assert result.predictions["probability"].between(0, 1).all()
    assert list(result.probabilities(0)) != list(result.probabilities(1))


def test_the_metrics_of_val_are_those_of_its_kept_probabilities(featured, run_arm):
    result = run_arm(featured, **ON_FEATURES)
    rows = result.predictions.query("replicate == 1 and split == 'val'")
    called = rows["probability"] >= 0.5
    epochs = result.replicates[1]["epochs"]
    kept = epochs[history.best_index(epochs)]
    assert kept["val_tp"] == int((called & (rows["label"] == 1)).sum())
    assert kept["val_fp"] == int((called & (rows["label"] == 0)).sum())


def test_a_replicate_does_not_depend_on_its_stack(featured, run_arm, monkeypatch):
    together = run_arm(featured, "together", **ON_FEATURES)
    monkeypatch.setattr(replicates, "stack_size", lambda parameters: 1)
    alone = run_arm(featured, "alone", **ON_FEATURES)
    for number in range(3):
        np.testing.assert_allclose(
            together.probabilities(number), alone.probabilities(number), atol=1e-5
        )


def test_early_stopping_ends_each_replicate_separately(featured, run_arm):
    result = run_arm(featured, **ON_FEATURES | {"epochs": 30, "early_stopping": 2})
    for number, replicate in enumerate(result.replicates):
        pr_aucs = [epoch["val_pr_auc"] for epoch in replicate["epochs"]]
        best = int(np.argmax(pr_aucs))
        assert len(pr_aucs) == min(30, best + 3)
        kept = result.predictions.query(f"replicate == {number} and split == 'val'")
        found = metrics.average_precision(kept["label"], kept["probability"])
        assert found == pytest.approx(pr_aucs[best])


def test_val_loss_is_that_of_the_kept_epoch_including_the_penalty(featured, run_arm):
    result = run_arm(featured, **ON_FEATURES | {"epochs": 30, "early_stopping": 2})
    epochs = result.replicates[0]["epochs"]
    kept = epochs[int(np.argmax([epoch["val_pr_auc"] for epoch in epochs]))]
    rows = result.predictions.query("replicate == 0 and split == 'val'")
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy(np.float64)
    entropy = -np.log(np.where(labels == 1, probabilities, 1 - probabilities)).mean()
    with np.load(result.folder / "model" / arm_module.WEIGHTS_FILE) as saved:
        squares = np.square(saved["arr_0"]).sum()
    penalty = 1 / (2 * POOLED_HEAD_C * 40)
    assert kept["val_loss"] == pytest.approx(entropy + penalty * squares, abs=1e-5)
    assert kept is not epochs[-1]


def test_the_last_epoch_is_kept_on_request(featured, run_arm):
    # Two epochs after the best of each.
    changes = ON_FEATURES | {"epochs": 30, "early_stopping": 2}
    last = run_arm(featured, "last", **changes | {"keep_epoch": "last"})
    best = run_arm(featured, "best", **changes)
    for name, result in {"last": last, "best": best}.items():
        for number, replicate in enumerate(result.replicates):
            pr_aucs = [epoch["val_pr_auc"] for epoch in replicate["epochs"]]
            kept = result.predictions.query(f"replicate == {number} and split == 'val'")
            found = metrics.average_precision(kept["label"], kept["probability"])
            assert found == pytest.approx(pr_aucs[-1] if name == "last" else max(pr_aucs))
    assert not last.predictions.equals(best.predictions)


def test_a_solved_head_has_the_same_probabilities_for_each_seed(featured, run_arm):
    result = run_arm(featured, **SOLVED)
    assert [each["random_state"] for each in result.replicates] == [42, 43, 44]
    for replicate in result.replicates:
        assert replicate["solver"]["converged"]
        assert [epoch["phase"] for epoch in replicate["epochs"]] == ["solved"]
    np.testing.assert_array_equal(result.probabilities(0), result.probabilities(2))


def test_a_solved_head_depends_on_a_seed_that_chooses_its_images(featured, run_arm):
    result = run_arm(featured, **SOLVED | {"sampling_strategy": "balanced"})
    assert list(result.probabilities(0)) != list(result.probabilities(1))
    again = run_arm(featured, "again", **SOLVED | {"sampling_strategy": "balanced"})
    np.testing.assert_array_equal(result.probabilities(1), again.probabilities(1))


def test_the_metrics_of_a_solved_head_are_those_of_its_probabilities(featured, run_arm):
    result = run_arm(featured, **SOLVED | {"penalty": 0.5})
    (epoch,) = result.replicates[0]["epochs"]
    rows = result.predictions.query("replicate == 0 and split == 'val'")
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy(np.float64)
    entropy = -np.log(np.where(labels == 1, probabilities, 1 - probabilities)).mean()
    with np.load(result.folder / "model" / arm_module.WEIGHTS_FILE) as saved:
        squares = np.square(saved["arr_0"]).sum()
    assert epoch["val_loss"] == pytest.approx(entropy + squares / (2 * 0.5 * 40), abs=1e-5)
    assert epoch["val_tp"] == int(((probabilities >= 0.5) & (labels == 1)).sum())


def test_a_head_is_solved_on_images_as_on_features(pictured, run_arm):
    changes = {"model": "xception", "image_size": 71, "optimizer": "auto"}
    result = run_arm(pictured, arm={"replicates": 2}, **changes)
    assert [each["solver"]["converged"] for each in result.replicates] == [True, True]


def test_a_head_on_features_that_are_no_numbers_is_recorded_as_diverged(tmp_path, run_arm):
    uri = _write_features(tmp_path / "infinite", seed=0, scale=np.inf)
    result = run_arm(uri, **SOLVED)
    assert {each["status"] for each in result.replicates} == {"diverged"}
    assert "finite" in result.replicates[0]["detail"]


def test_the_learning_rate_of_each_replicate_falls_on_its_own_plateau(featured, run_arm):
    changes = ON_FEATURES | {"epochs": 4, "learning_rate": 1e-9, "reduce_lr_on_plateau": 1}
    for replicate in run_arm(featured, **changes).replicates:
        rates = [epoch["learning_rate"] for epoch in replicate["epochs"]]
        assert rates == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11])


@pytest.mark.parametrize("on", ["features", "images"])
def test_a_diverging_arm_is_recorded_and_does_not_fail(on, featured, pictured, run_arm):
    uri, changes = (featured, ON_FEATURES) if on == "features" else (pictured, {"image_size": 16})
    diverging = {"class_weight": {"positive": 1e38, "negative": 1e38}, "learning_rate": 10.0}
    result = run_arm(uri, arm={"replicates": 2}, **changes | diverging)
    assert [each["status"] for each in result.replicates] == ["diverged", "diverged"]
    assert "loss is" in result.replicates[0]["detail"]
    assert result.predictions.empty


def _cut_off_after(number: int, original) -> object:
    def trained(self, cells) -> Iterator[tuple[arm_module.Cell, replicates.Replicate]]:
        for index, each in enumerate(original(self, cells)):
            if index == number:
                raise KeyboardInterrupt
            yield each

    return trained


@pytest.fixture
def cut_off(featured, run_arm, monkeypatch):
    """An arm on features, interrupted after two of its replicates."""
    original = arm_module._ArmTraining._trained
    with monkeypatch.context() as patch:
        patch.setattr(arm_module._ArmTraining, "_trained", _cut_off_after(2, original))
        with pytest.raises(KeyboardInterrupt):
            run_arm(featured, "again", **ON_FEATURES)


@pytest.fixture
def trained_seeds(monkeypatch) -> list[int]:
    """The seeds that are trained after this fixture is set up."""
    original = arm_module._ArmTraining._trained
    seeds: list[int] = []

    def spy(self, missing):
        seeds.extend(cell.random_state for cell in missing)
        return original(self, missing)

    monkeypatch.setattr(arm_module._ArmTraining, "_trained", spy)
    return seeds


@pytest.mark.usefixtures("cut_off")
def test_an_interrupted_arm_trains_only_the_missing_replicates(featured, run_arm, trained_seeds):
    again = run_arm(featured, "again", **ON_FEATURES)
    assert trained_seeds == [44]
    whole = run_arm(featured, "whole", **ON_FEATURES)
    for number in range(3):
        np.testing.assert_allclose(
            again.probabilities(number), whole.probabilities(number), atol=1e-5
        )


@pytest.mark.usefixtures("cut_off")
def test_damaged_replicates_and_rows_are_made_again(
    featured, run_arm, trained_seeds, tmp_path, caplog
):
    (folder,) = (tmp_path / "checkpoints").iterdir()
    left = [folder / "replicate-43.npz", *folder.glob("*.rows")]
    for file, damage in zip(left, (halve, halve, empty, flip_a_bit), strict=True):
        damage(file)
    again = run_arm(featured, "again", **ON_FEATURES)
    assert trained_seeds == [43, 44]
    for file in left:
        assert f"{file} is damaged" in caplog.text
    whole = run_arm(featured, "whole", **ON_FEATURES)
    for number in range(3):
        np.testing.assert_allclose(
            again.probabilities(number), whole.probabilities(number), atol=1e-5
        )


@pytest.mark.usefixtures("cut_off")
def test_an_arm_does_not_resume_from_other_settings(featured, run_arm, trained_seeds):
    run_arm(featured, "again", **ON_FEATURES | {"learning_rate": 0.04})
    assert trained_seeds == [42, 43, 44]


@pytest.mark.usefixtures("cut_off")
def test_an_arm_does_not_resume_from_other_images(run_arm, trained_seeds, tmp_path):
    run_arm(_write_features(tmp_path / "others", seed=1), "again", **ON_FEATURES)
    assert trained_seeds == [42, 43, 44]


def test_no_checkpoint_remains_after_an_arm_is_finished(featured, run_arm, tmp_path):
    run_arm(featured, **ON_FEATURES)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_zero_replicates_are_refused(featured, run_arm):
    with pytest.raises(ValueError, match=r"at least 1\. Received: 0"):
        run_arm(featured, arm={"replicates": 0}, **ON_FEATURES)


DRAWN = {"draws": 2, "replicates": 2}


def _write_draws(uri: Path, sampling: Path) -> None:
    """Writes 60 images of one split, and two draws of train, val and test from them."""
    rng = np.random.default_rng(5)
    folder = Path(split_dir(str(uri), "drawn"))
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
        for index in range(60):
            writer.write(_feature_example(index, int(index % 4 == 0), 1.0, rng))
    list_files(uri)
    draws = [
        {"test": np.arange(0, 24), "val": np.arange(24, 40), "train": np.arange(40, 60)},
        {"test": np.arange(36, 60), "val": np.arange(20, 36), "train": np.arange(0, 20)},
    ]
    drawn_splits.write(draws, str(sampling))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> tuple[Path, Path]:
    """Examples with the images of two draws, and the Sampling artifact with the draws."""
    uri, sampling = tmp_path_factory.mktemp("drawn"), tmp_path_factory.mktemp("sampling")
    _write_draws(uri, sampling)
    return uri, sampling


@pytest.fixture
def run_drawn(make_settings, tmp_path, drawn):
    def run(
        name: str = "arm", *, arm: dict | None = None, uri: Path = drawn[0], **changes
    ) -> ArmResult:
        folder = tmp_path / name
        run_fn(
            FnArgs(
                train_files=[f"{uri}/Split-drawn/*"],
                eval_files=[f"{uri}/Split-drawn/*"],
                serving_model_dir=str(folder / "model"),
                model_run_dir=str(folder / "run"),
                custom_config={
                    "trainer": make_settings(**ON_FEATURES | changes).model_dump(),
                    "arm": ARM | DRAWN | (arm or {}),
                    "checkpoint_root": str(tmp_path / "checkpoints"),
                    "sampling": str(drawn[1]),
                },
            )
        )
        return ArmResult(folder)

    return run


def test_each_draw_trains_and_tests_on_its_own_images(run_drawn):
    result = run_drawn()
    assert [each["draw"] for each in result.replicates] == [0, 0, 1, 1]
    seeds = [each["random_state"] for each in result.replicates]
    assert seeds[:2] == [42, 43]
    assert len(set(seeds)) == 4
    for number, first in ((0, 0), (1, 0), (2, 36), (3, 36)):
        rows = result.predictions.query(f"replicate == {number} and split == 'test'")
        assert list(rows["image_id"]) == [f"{index:064x}" for index in range(first, first + 24)]
        assert set(rows["draw"]) == {number // 2}
        assert rows["probability"].notna().all()


def test_the_first_draw_is_trained_as_if_it_were_the_only_one(run_drawn, drawn, run_arm, tmp_path):
    """The same images as three splits of their own give the same probabilities."""
    records = list(tf.data.TFRecordDataset(f"{drawn[0]}/Split-drawn/{shard_name(0, 1)}"))
    for split, rows in {"train": range(40, 60), "val": range(24, 40), "test": range(24)}.items():
        folder = Path(split_dir(str(tmp_path / "alone"), split))
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / shard_name(0, 1))) as writer:
            for row in rows:
                writer.write(records[row].numpy())
    list_files(tmp_path / "alone")
    alone = run_arm(tmp_path / "alone", "once", arm={"replicates": 2}, **ON_FEATURES)
    several = run_drawn()
    for number in (0, 1):
        np.testing.assert_allclose(
            several.probabilities(number), alone.probabilities(number), atol=1e-6
        )


def test_an_arm_interrupted_in_the_second_draw_trains_only_what_is_missing(run_drawn, monkeypatch):
    original = arm_module._ArmTraining._trained
    with monkeypatch.context() as patch:
        patch.setattr(arm_module._ArmTraining, "_trained", _cut_off_after(3, original))
        with pytest.raises(KeyboardInterrupt):
            run_drawn("again")
    missing = []

    def spy(self, cells):
        missing.extend((cell.draw, cell.point) for cell in cells)
        return original(self, cells)

    monkeypatch.setattr(arm_module._ArmTraining, "_trained", spy)
    again = run_drawn("again")
    assert missing == [(1, 0)]
    whole = run_drawn("whole")
    for number in range(4):
        np.testing.assert_allclose(
            again.probabilities(number), whole.probabilities(number), atol=1e-5
        )


def test_an_arm_records_how_many_images_its_draws_share(run_drawn):
    shared = run_drawn().summary["overlap"]
    assert shared["train"] == {"positives": 0.0, "negatives": 0.0}
    assert shared["val"] == {"positives": 3 / 4, "negatives": 9 / 12}


def test_a_curve_trains_on_parts_of_the_training_split(run_drawn):
    points = [{"positives": 2, "negatives": 9}, {"positives": 5, "negatives": 15}]
    result = run_drawn(arm={"points": points, "replicates": 1})
    found = [(each["point"], each["draw"]) for each in result.replicates]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1)]
    whole = run_drawn("whole", arm={"replicates": 1})
    # The whole training split, in the same order of the records.
    np.testing.assert_allclose(result.probabilities(2), whole.probabilities(0), atol=1e-5)
    assert not np.allclose(result.probabilities(0), whole.probabilities(0), atol=1e-3)


def _write_views(source: Path, uri: Path, scale: float) -> Path:
    """Copies Examples of features, each the mean of two views that are `scale` apart."""
    rng = np.random.default_rng(3)
    for path in source.glob("Split-*/data_tfrecord-*"):
        copy = uri / path.relative_to(source)
        copy.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(copy)) as writer:
            for record in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
                example = tf.train.Example.FromString(record)
                features = example.features.feature
                mean = np.frombuffer(features["features"].bytes_list.value[0], np.float16)
                apart = (scale * rng.normal(size=FEATURES)).astype(np.float16)
                views = np.stack([mean - apart, mean + apart])
                features["view_features"].bytes_list.value.append(views.tobytes())
                writer.write(example.SerializeToString())
    list_files(uri)
    return uri


VIEWS = SOLVED | {"image_size": 96, "views": ["original", "mirror"], "penalty": 1.0}


def test_an_arm_is_trained_on_each_view_and_evaluated_on_their_mean(featured, run_arm, tmp_path):
    average = run_arm(featured, "average", **VIEWS)
    same = _write_views(featured, tmp_path / "same", scale=0.0)
    apart = _write_views(featured, tmp_path / "apart", scale=2.0)
    for split in ("val", "test"):
        of_same = run_arm(same, "same", **VIEWS | {"views_as": "rows"}).probabilities(0, split)
        expected = average.probabilities(0, split)
        np.testing.assert_allclose(of_same, expected, atol=1e-5)
    found = run_arm(apart, "apart", **VIEWS | {"views_as": "rows"})
    head = np.load(tmp_path / "apart/model/first_replicate.npz")
    records = tf.data.TFRecordDataset(f"{featured}/Split-test/{shard_name(0, 1)}")
    values = [tf.train.Example.FromString(each.numpy()).features.feature for each in records]
    means = [np.frombuffer(each["features"].bytes_list.value[0], np.float16) for each in values]
    logits = np.stack(means).astype(np.float32) @ head["arr_0"] + head["arr_1"]
    np.testing.assert_allclose(found.probabilities(0), expit(logits)[:, 0], atol=1e-5)
    assert np.abs(found.probabilities(0) - average.probabilities(0)).max() > 0.02


def test_draws_are_trained_on_each_view_and_evaluated_on_their_mean(run_drawn, drawn, tmp_path):
    given = VIEWS | {"views_as": "rows"}
    average = run_drawn("average", **VIEWS)
    same = _write_views(drawn[0], tmp_path / "same", scale=0.0)
    apart = _write_views(drawn[0], tmp_path / "apart", scale=2.0)
    rows = run_drawn("rows", uri=same, **given).probabilities(2)
    np.testing.assert_allclose(rows, average.probabilities(2), atol=1e-5)
    assert np.abs(run_drawn("apart", uri=apart, **given).probabilities(2) - rows).max() > 0.02


def test_records_without_the_features_of_each_view_are_refused(featured, run_arm):
    with pytest.raises(ValueError, match=r"features of each of 2 views, 24 bytes.*Received: 0"):
        run_arm(featured, **VIEWS | {"views_as": "rows"})


def test_a_head_is_trained_on_each_view_of_images(run_arm, pictured, tmp_path):
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(4, 5, activation="relu")
    keras.Sequential([keras.Input((None, None, 3)), convolution]).save(tmp_path / "own.keras")
    own = {"model": str(tmp_path / "own.keras"), "image_size": 32, "weights": "imagenet"}
    given = VIEWS | own | {"views": ["original", 16]}
    arm = {"replicates": 1}
    average = run_arm(pictured, "average", arm=arm, **given)
    rows = run_arm(pictured, "rows", arm=arm, **given | {"views_as": "rows"})
    differences = np.abs(rows.probabilities(0) - average.probabilities(0))
    # Of an image in two sizes the features are alike.
    assert 1e-5 < differences.max() < 0.2


def test_an_arm_with_a_misspelt_key_is_refused(featured, run_arm):
    with pytest.raises(ValueError, match=r"keys of an arm must be .*'draws'.*Received: .*'drws'"):
        run_arm(featured, arm={"drws": 2}, **ON_FEATURES)
