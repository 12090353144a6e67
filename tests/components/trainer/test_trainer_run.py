import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from damage import empty, flip_a_bit, halve
from sklearn.metrics import average_precision_score

from components import training_balance
from components.trainer.training import TrainingDivergedError
from components.training_balance import TrainingBalance

METRICS = ["tp", "fp", "tn", "fn", "accuracy", "precision", "recall", "loss"]


def _history(model_run: Path) -> dict:
    return json.loads((model_run / "history.json").read_text())


def _epochs(model_run: Path) -> list[dict]:
    """The epochs' metrics without the seconds, which vary."""
    return [{**epoch, "seconds": 0} for epoch in _history(model_run)["epochs"]]


def _records(examples_uri: Path) -> list[bytes]:
    files = sorted(str(file) for file in (examples_uri / "Split-val").iterdir())
    return list(tf.data.TFRecordDataset(files).as_numpy_iterator())


def _images(records: list[bytes]) -> list[bytes]:
    return [
        tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
        for record in records
    ]


def _predict(model: Path, records: list[bytes]) -> np.ndarray:
    served = tf.saved_model.load(str(model)).signatures["serving_default"]
    return served(examples=tf.constant(records))["probability"].numpy()


@pytest.fixture(scope="module")
def plain(run_trainer_in, tmp_path_factory) -> tuple[Path, Path]:
    """The serving folder and the model run folder of two epochs of the tiny CNN."""
    return run_trainer_in(tmp_path_factory.mktemp("plain"))


def test_the_history_has_every_metric_of_every_epoch(plain):
    _, model_run = plain
    history = _history(model_run)
    assert history["model"] == "cnn"
    assert history["parameters"] == history["trainable_parameters"] == 224_449
    assert history["splits"]["train"] == {"positives": 4, "negatives": 12}
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2]
    assert history["exported_epoch"] == 2
    for epoch in history["epochs"]:
        assert {*METRICS, *(f"val_{name}" for name in METRICS), "val_pr_auc"} <= epoch.keys()
        # Keras's metric on train has the same name but another definition.
        assert "pr_auc" not in epoch
        assert epoch["tp"] + epoch["fp"] + epoch["tn"] + epoch["fn"] == 16
        assert epoch["val_tp"] + epoch["val_fp"] + epoch["val_tn"] + epoch["val_fn"] == 9
        assert epoch["learning_rate"] == 0.001


def test_the_model_records_the_balance_that_it_was_trained_on(plain):
    expected = TrainingBalance(positive_images=4, negative_images=12)
    assert training_balance.read(str(plain[0])) == expected


def test_tensorboard_gets_the_metrics_of_train_and_val(plain):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, model_run = plain
    for side, metric in (("train", "epoch_recall"), ("validation", "epoch_pr_auc")):
        events = EventAccumulator(str(model_run / "tensorboard" / side)).Reload()
        assert {"epoch_loss", metric} <= set(events.Tags()["tensors"])
        assert [event.step for event in events.Tensors("epoch_loss")] == [0, 1]


def test_the_same_seed_gives_the_same_training(plain, run_trainer, examples_uri, caplog):
    with caplog.at_level("INFO", logger="outnumbered.trainer"):
        again, again_run = run_trainer()
    model, model_run = plain
    records = _records(examples_uri)
    assert _epochs(again_run) == _epochs(model_run)
    np.testing.assert_array_equal(_predict(again, records), _predict(model, records))
    # The progress that a user sees.
    assert "16 of 16 train images, done" in caplog.messages
    line = next(line for line in caplog.messages if line.startswith("epoch 1/2: loss "))
    assert ", val pr_auc " in line
    assert line.endswith(" left")


def test_another_seed_gives_another_training(plain, run_trainer, examples_uri):
    other, _ = run_trainer(random_state=7, epochs=1)
    records = _records(examples_uri)
    assert not np.allclose(_predict(other, records), _predict(plain[0], records))


def test_with_a_frozen_body_only_the_head_is_trained(run_trainer, examples_uri):
    model, model_run = run_trainer(epochs=1, model="xception", image_size=71)
    history = _history(model_run)
    assert history["trainable_parameters"] == 2049
    assert history["parameters"] == 20_861_480 + 2049
    assert _predict(model, _records(examples_uri)).shape == (9, 1)


def test_early_stopping_exports_the_best_epoch(run_trainer, examples_uri):
    model, model_run = run_trainer(epochs=6, early_stopping=1, learning_rate=0.01)
    history = _history(model_run)
    best = history["exported_epoch"]
    assert len(history["epochs"]) == min(best + 1, 6)
    records = _records(examples_uri)
    labels = [
        tf.train.Example.FromString(record).features.feature["label"].int64_list.value[0]
        for record in records
    ]
    pr_auc = average_precision_score(labels, _predict(model, records)[:, 0])
    assert pr_auc == pytest.approx(history["epochs"][best - 1]["val_pr_auc"], abs=1e-4)


def test_a_training_that_diverges_fails_and_leaves_no_checkpoint(run_trainer, tmp_path):
    with pytest.raises(TrainingDivergedError, match=r"the loss is (nan|inf) .* of 10; lower"):
        run_trainer(learning_rate=10.0, class_weight={"positive": 1e38, "negative": 1e38})
    assert not any((tmp_path / "checkpoints").iterdir())


def test_an_interrupted_training_resumes_with_the_same_result(
    run_trainer, examples_uri, tmp_path, caplog, cut_off_at
):
    install, remove = cut_off_at
    changes = {
        "epochs": 4,
        "early_stopping": 9,
        "reduce_lr_on_plateau": 1,
        "augmentation": True,
        "sampling_strategy": "oversample",
    }
    whole, whole_run = run_trainer("whole", **changes)
    install("epoch 3/4")
    with pytest.raises(KeyboardInterrupt):
        run_trainer("cut", **changes)
    remove()
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert {"state.npz", "train.rows", "val.rows"} == {file.name for file in folder.iterdir()}

    caplog.clear()
    resumed, resumed_run = run_trainer("resumed", **changes)
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    assert [line[:9] for line in lines] == ["epoch 3/4", "epoch 4/4"]
    assert not folder.exists()
    assert _epochs(resumed_run) == _epochs(whole_run)
    records = _records(examples_uri)
    np.testing.assert_array_equal(_predict(resumed, records), _predict(whole, records))


def test_an_interrupted_training_with_damaged_files_starts_again(
    plain, run_trainer, examples_uri, tmp_path, caplog, cut_off_at
):
    install, remove = cut_off_at
    install("epoch 2/2")
    with pytest.raises(KeyboardInterrupt):
        run_trainer("cut")
    remove()
    (folder,) = (tmp_path / "checkpoints").iterdir()
    left = sorted(folder.iterdir())
    for file, damage in zip(left, (empty, halve, flip_a_bit), strict=True):
        damage(file)
    caplog.clear()
    resumed, resumed_run = run_trainer("resumed")
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warned) == len(left)
    for file in left:
        assert any(str(file) in line for line in warned)
    assert _epochs(resumed_run) == _epochs(plain[1])
    records = _records(examples_uri)
    np.testing.assert_array_equal(_predict(resumed, records), _predict(plain[0], records))


def test_the_saved_model_requires_only_tensorflow(plain, examples_uri, tmp_path):
    model, _ = plain
    records = _records(examples_uri)
    np.save(tmp_path / "images.npy", np.array(_images(records), dtype=object))
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        "images = list(np.load(sys.argv[2], allow_pickle=True))\n"
        "served = tf.saved_model.load(sys.argv[1]).signatures['predict_images']\n"
        "np.save(sys.argv[3], served(images=tf.constant(images))['probability'])\n"
        "assert 'keras' not in sys.modules and 'components' not in sys.modules\n"
    )
    paths = [str(model), str(tmp_path / "images.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-c", script, *paths], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(paths[2]), _predict(model, records), atol=1e-5)
