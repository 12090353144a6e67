import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.trainer import history


def _epochs(pr_aucs=(), losses=()):
    length = max(len(pr_aucs), len(losses))
    return [
        {
            "val_pr_auc": pr_aucs[i] if pr_aucs else 0.5,
            "val_loss": losses[i] if losses else 1.0,
        }
        for i in range(length)
    ]


def test_counts_become_integers_and_other_metrics_do_not_change():
    logs = {"tp": 3.0, "val_fn": 2.0, "loss": 0.25}
    record = history.epoch_record(logs, epoch=1, phase="train", learning_rate=0.1, seconds=1.23456)
    assert record["tp"] == 3
    assert isinstance(record["val_fn"], int)
    assert record["loss"] == 0.25
    assert record["seconds"] == 1.235


def test_the_best_epoch_is_the_first_of_the_highest_pr_auc():
    assert history.best_index(_epochs([0.5, 0.9, 0.9, 0.7])) == 1


@pytest.mark.parametrize(
    ("pr_aucs", "finished"),
    [
        ([0.5], False),
        ([0.5, 0.6, 0.6], False),
        ([0.5, 0.6, 0.6, 0.5], True),
        ([0.5, 0.6, 0.6, 0.7], False),
    ],
)
def test_training_stops_after_patience_epochs_without_a_better_one(pr_aucs, finished):
    assert history.is_finished(_epochs(pr_aucs), limit=10, patience=2) is finished


def test_without_patience_only_the_limit_ends_training():
    worsening = _epochs([0.9, 0.5, 0.4, 0.3])
    assert not history.is_finished(worsening, limit=5, patience=None)
    assert history.is_finished(worsening, limit=4, patience=None)


def test_the_exported_epoch_is_the_best_or_the_last():
    epochs = _epochs([0.5, 0.9, 0.7])
    assert history.exported_index(epochs, keep="best") == 1
    assert history.exported_index(epochs, keep="last") == 2


def test_of_equal_pr_aucs_the_one_with_the_lowest_val_loss_is_best_but_patience_ends():
    epochs = _epochs([0.9, 1.0, 1.0, 1.0], [0.5, 0.4, 0.2, 0.3])
    assert history.best_index(epochs) == 2
    assert history.is_finished(epochs, limit=9, patience=2)


@settings(max_examples=50)
@given(
    losses=st.lists(st.floats(0, 2), max_size=12),
    patience=st.integers(1, 4),
)
def test_the_learning_rate_is_reduced_as_by_keras(losses, patience):
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 1.0
    plateau = keras.callbacks.ReduceLROnPlateau(patience=patience)
    plateau.set_model(model)
    plateau.on_train_begin()
    for index, loss in enumerate(losses):
        plateau.on_epoch_end(index, {"val_loss": loss})
    rate = history.learning_rate(_epochs(losses=losses), initial=1.0, patience=patience)
    assert rate == pytest.approx(float(model.optimizer.learning_rate))
