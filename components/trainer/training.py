"""The training loop: phases of epochs, with a checkpoint after each epoch."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from components.evaluator import metrics
from components.progress import Progress, time_left
from components.trainer import history, mixup, smote
from components.trainer.augmentation import augment_batches
from components.trainer.bodies import unfreeze
from components.trainer.checkpoint import Arrays, Checkpoint, TrainingState
from components.trainer.devices import DevicePolicy
from components.trainer.features import Rows, row_batches
from components.trainer.history import Epoch
from components.trainer.losses import KerasLoss
from components.trainer.models import Network
from components.trainer.sampling import epoch_indices, epoch_size, epoch_weights, training_loss
from components.trainer.settings import TrainerSettings

_LOGGER = logging.getLogger("outnumbered.trainer")

_VAL_BATCH_SIZE = 32
# Small enough to adapt the ImageNet weights of the body without destroying them.
_FINE_TUNE_LEARNING_RATE_FACTOR = 0.01


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Phase:
    """A part of a training with one set of trainable weights and one optimizer.

    Attributes:
      name: name of the phase in the history.
      learning_rate: initial learning rate.
    """

    name: str
    learning_rate: float


TRAIN = "train"
FINE_TUNE = "fine_tune"
_EPOCH_NAMES = {TRAIN: "epoch", FINE_TUNE: "fine-tuning epoch"}


def training_phases(settings: TrainerSettings) -> list[Phase]:
    """Returns the phases: the new layers, then with fine-tuning also the pretrained blocks."""
    rate = settings.learning_rate
    phases = [Phase(TRAIN, rate)]
    if settings.fine_tune:
        phases.append(Phase(FINE_TUNE, rate * _FINE_TUNE_LEARNING_RATE_FACTOR))
    return phases


class Training:
    """Trains a network on precomputed rows."""

    def __init__(
        self,
        network: Network,
        *,
        train: Rows,
        val: Rows,
        settings: TrainerSettings,
        policy: DevicePolicy,
        checkpoint: Checkpoint,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ):
        """Configures a training.

        Args:
          network: built under the strategy and the precision of the policy.
          train: rows to train on.
          val: rows to monitor.
          settings: the trainer's settings.
          policy: how the devices are used.
          checkpoint: where the state is saved after each epoch and resumed from.
          on_epoch: called with the metrics of each epoch, including those before an
            interruption.
        """
        self._network = network
        strategy, seed = settings.sampling_strategy, settings.random_state
        self._train = smote.enlarged(train, strategy, [seed]).rows
        self._val = val
        self._settings = settings
        self._policy = policy
        self._checkpoint = checkpoint
        self._on_epoch = on_epoch

    def run(self) -> list[Epoch]:
        """Trains the network, which then has the weights to export.

        Returns:
          the metrics of all epochs.

        Raises:
          TrainingDivergedError: the loss is no longer a number.
        """
        state = self._checkpoint.load()
        for epoch in state.epochs:
            self._on_epoch(epoch)
        phases = training_phases(self._settings)
        started = {epoch["phase"] for epoch in state.epochs}
        for phase, following in zip(phases, [*phases[1:], None], strict=True):
            if following is None or following.name not in started:
                self._run_phase(phase, state)
        return state.epochs

    def _run_phase(self, phase: Phase, state: TrainingState) -> None:
        model = self._network.trained
        self._compile(phase)
        done = [epoch for epoch in state.epochs if epoch["phase"] == phase.name]
        if done and state.variables:
            _restore(model, state.variables)
        patience = self._settings.early_stopping
        while not history.is_finished(done, limit=self._settings.epochs, patience=patience):
            done.append(self._run_epoch(phase, done, index=len(state.epochs)))
            self._keep(state, done[-1])
        if state.best is not None:
            model.set_weights(state.best)

    def _keep(self, state: TrainingState, epoch: Epoch) -> None:
        model = self._network.trained
        state.epochs.append(epoch)
        is_best = history.best_index(state.epochs) == len(state.epochs) - 1
        if self._settings.keep_epoch == "best" and is_best:
            state.best = model.get_weights()
        state.variables = _snapshot(model)
        self._checkpoint.save(state)
        self._on_epoch(epoch)

    def _compile(self, phase: Phase) -> None:
        model, top = self._network.trained, self._network.top
        if phase.name == FINE_TUNE and top is not None:
            unfreeze(top)
        loss = training_loss(self._train.labels, self._settings)
        model.compile(
            optimizer=keras.optimizers.Adam(phase.learning_rate),
            loss=KerasLoss(loss),
            metrics=_metrics(),
            jit_compile=self._policy.jit_compile,
        )
        model.optimizer.build(model.trainable_variables)
        self._evaluate = _evaluation(
            model, KerasLoss(loss, reduction=None), jit_compile=self._policy.jit_compile
        )

    def _run_epoch(self, phase: Phase, done: Sequence[Epoch], *, index: int) -> Epoch:
        settings, model = self._settings, self._network.trained
        rate = history.learning_rate(
            done, initial=phase.learning_rate, patience=settings.reduce_lr_on_plateau
        )
        model.optimizer.learning_rate = rate
        name = f"{_EPOCH_NAMES[phase.name]} {len(done) + 1}/{settings.epochs}"
        started = time.monotonic()
        logs = self._fit(index, name, done=len(done))
        if not math.isfinite(logs["loss"]):
            # A training that diverged would diverge again if it resumed.
            self._checkpoint.clear()
            raise TrainingDivergedError(
                f"training diverged in {name}: the loss is {logs['loss']} at a learning rate "
                f"of {rate:g}; lower trainer.learning_rate, or check for extreme class weights"
            )
        epoch = history.epoch_record(
            {**logs, **self._val_logs()},
            epoch=index + 1,
            phase=phase.name,
            learning_rate=rate,
            seconds=time.monotonic() - started,
        )
        self._log_epoch(name, [*done, epoch])
        return epoch

    def _fit(self, index: int, name: str, *, done: int) -> dict[str, float]:
        settings = self._settings
        fitted = self._network.trained.fit(
            self._train_batches(index),
            class_weight=epoch_weights(self._train.labels, settings, done=done),
            callbacks=[_BatchProgress(name, self._epoch_size(), settings.batch_size)],
            verbose=0,
        )
        return {name: values[-1] for name, values in fitted.history.items()}

    def _val_logs(self) -> dict[str, float]:
        """Returns the metrics on val, from one pass over it."""
        outputs = [self._evaluate(*batch) for batch in self._val_batches()]
        probabilities, losses = (
            np.concatenate([part.numpy() for part in parts]) for parts in zip(*outputs, strict=True)
        )
        # Keras adds the penalties on the weights to the loss of each batch.
        penalty = sum(float(part) for part in self._network.trained.losses)
        loss = float(losses.mean(dtype=np.float64)) + penalty
        return val_metrics(self._val.labels, probabilities, loss)

    def _epoch_size(self) -> int:
        return epoch_size(self._train.labels, self._settings.sampling_strategy)

    def _train_batches(self, index: int) -> tf.data.Dataset:
        settings = self._settings
        indices = epoch_indices(
            self._train.labels,
            strategy=settings.sampling_strategy,
            random_state=settings.random_state,
            epoch=index,
        )
        batches = row_batches(self._train, indices, batch_size=settings.batch_size)
        if settings.augmentation:
            batches = augment_batches(batches, random_state=settings.random_state, epoch=index)
        if settings.mixup is not None:
            mixing = mixup.draw(
                self._epoch_size(),
                batch_size=settings.batch_size,
                alpha=settings.mixup,
                random_state=settings.random_state,
                epoch=index,
            )
            batches = mixup.mix_batches(batches, mixing, batch_size=settings.batch_size)
        return batches

    def _val_batches(self) -> tf.data.Dataset:
        return row_batches(
            self._val,
            tf.data.Dataset.range(len(self._val.labels)),
            batch_size=_VAL_BATCH_SIZE,
        )

    def _log_epoch(self, name: str, done: Sequence[Epoch]) -> None:
        last, seconds = done[-1], sum(epoch["seconds"] for epoch in done)
        _LOGGER.info(
            "%s: loss %.3g, val pr_auc %.3f, %s",
            name,
            last["loss"],
            last[history.MONITORED],
            time_left(seconds, len(done), self._settings.epochs),
        )


def _metrics() -> list[keras.Metric]:
    return [
        _of_sides(keras.metrics.TruePositives)(name="tp"),
        _of_sides(keras.metrics.FalsePositives)(name="fp"),
        _of_sides(keras.metrics.TrueNegatives)(name="tn"),
        _of_sides(keras.metrics.FalseNegatives)(name="fn"),
        _of_sides(keras.metrics.BinaryAccuracy)(name="accuracy"),
        _of_sides(keras.metrics.Precision)(name="precision"),
        _of_sides(keras.metrics.Recall)(name="recall"),
    ]


def _of_sides(metric: type[keras.Metric]) -> type[keras.Metric]:
    """Returns a metric that counts a mixed image for the side that has the larger share in it."""

    class OfSides(metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state(keras.ops.round(y_true), y_pred, sample_weight)

    return OfSides


def _evaluation(
    model: keras.Model, loss: keras.Loss, *, jit_compile: bool
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns a function of rows and labels (b, 1) that returns probabilities and losses (b,)."""

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def evaluate(rows: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = model(rows, training=False)
        return probabilities[:, 0], loss(labels, probabilities)

    return evaluate


def epoch_metrics(labels: np.ndarray, probabilities: np.ndarray, loss: float) -> dict[str, float]:
    """Returns the loss and the metrics at threshold 0.5; undefined metrics are 0.

    Args:
      labels: int (n,).
      probabilities: float32 (n,), in the same order.
      loss: mean loss of the images.
    """
    counts = metrics.confusion(labels, metrics.is_positive(probabilities, 0.5))
    rates = metrics.rates(counts)
    return {
        "loss": loss,
        **{name: float(getattr(counts, name)) for name in ("tp", "fp", "tn", "fn")},
        **{name: _defined(rates[name]) for name in ("accuracy", "precision", "recall")},
    }


def val_metrics(labels: np.ndarray, probabilities: np.ndarray, loss: float) -> dict[str, float]:
    """Returns `epoch_metrics` and the PR-AUC of val, with the prefix `val_`.

    Every training uses this PR-AUC, which decides which epoch is kept.
    """
    # The probabilities of a network that diverges are not numbers, so they have no order.
    ordered = math.isfinite(loss)
    pr_auc = metrics.average_precision(labels, probabilities) if ordered else 0.0
    logs = {**epoch_metrics(labels, probabilities, loss), "pr_auc": pr_auc}
    return {f"val_{name}": value for name, value in logs.items()}


def _defined(rate: float) -> float:
    return rate if math.isfinite(rate) else 0.0


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the weights, dropout's random states and the optimizer's moments."""
    return [*model.variables, *model.optimizer.variables]


def _snapshot(model: keras.Model) -> Arrays:
    return [keras.ops.convert_to_numpy(variable) for variable in _all_variables(model)]


def _restore(model: keras.Model, values: Arrays) -> None:
    for variable, value in zip(_all_variables(model), values, strict=True):
        variable.assign(np.asarray(value))


class _BatchProgress(keras.callbacks.Callback):
    """Logs the progress of a long epoch."""

    def __init__(self, epoch_name: str, images: int, batch_size: int):
        super().__init__()
        self._progress = Progress(f"images of {epoch_name}", total=images, closing=False)
        self._batch_size = batch_size

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts one batch."""
        self._progress.advance(self._batch_size)
