"""Replicates: the same training with many seeds, each evaluated on the same images.

Pooled heads on frozen features are solved, see `components.trainer.solved_head`; other heads on
frozen features are trained in stacks, see `components.trainer.heads`; of any other network, one
replicate is trained after the other.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

from components import checked_file
from components.trainer import arrays, bagging, history, methods, mixup, post_hoc, smote
from components.trainer.checkpoint import Checkpoint
from components.trainer.devices import DevicePolicy
from components.trainer.features import Rows, row_batches
from components.trainer.heads import HeadStack, Weights, stack_size
from components.trainer.history import Epoch
from components.trainer.losses import CrossEntropy
from components.trainer.mixup import Mixing
from components.trainer.models import Network, build_head, build_network, pooled_penalty
from components.trainer.sampling import (
    epoch_order,
    epoch_size,
    epoch_weights,
    expected_counts,
    training_loss,
)
from components.trainer.settings import TrainerSettings
from components.trainer.solved_head import solve_head
from components.trainer.training import (
    TRAIN,
    Training,
    TrainingDivergedError,
    epoch_metrics,
    val_metrics,
)

_PREDICT_BATCH = 64
# Prefix of a split's name in the file of a replicate.
_SPLIT = "split "

TRAINED = "trained"
DIVERGED = "diverged"


@dataclass
class Replicate:
    """One training of an arm.

    Attributes:
      random_state: its seed.
      epochs: the metrics of its epochs.
      detail: why it diverged; empty if it didn't.
      probabilities: by split, float32 (n,) in the order of the split; empty if it diverged.
      weights: weights of the trained part of the network; empty if it diverged.
      solver: how its head was solved, see `solved_head.SolvedHead`; empty if it was trained in
        epochs.
    """

    random_state: int
    epochs: list[Epoch] = field(default_factory=list)
    detail: str = ""
    probabilities: dict[str, np.ndarray] = field(default_factory=dict)
    weights: Weights = field(default_factory=list)
    solver: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """`trained` or `diverged`."""
        return DIVERGED if self.detail else TRAINED


@dataclass(frozen=True)
class ArmRows:
    """The rows that the replicates of an arm are trained and evaluated on.

    Attributes:
      train: rows to train on.
      val: name of the split to monitor.
      evaluated: rows of every split whose probabilities are kept, including val.
    """

    train: Rows
    val: str
    evaluated: Mapping[str, Rows]


def train_heads(
    settings: TrainerSettings,
    seeds: Sequence[int],
    rows: ArmRows,
    *,
    on_epoch: Callable[[Epoch], None],
) -> Iterator[list[Replicate]]:
    """Trains a head on features for each seed, stack by stack, or solves it.

    Args:
      settings: the trainer's settings; their seed is ignored.
      seeds: one seed per replicate.
      rows: features.
      on_epoch: called with the metrics of each epoch of each replicate.

    Yields:
      the replicates of one stack.
    """
    if settings.bagging is not None:
        yield from ([train_bagged(settings, seed, rows, on_epoch=on_epoch)] for seed in seeds)
        return
    if settings.solves_head:
        yield from _solved_heads(settings, seeds, rows, on_epoch)
        return
    first = _head(settings, seeds[0], rows.train)
    size = stack_size(first.count_params())
    for start in range(0, len(seeds), size):
        yield _HeadTraining(settings, seeds[start : start + size], rows, on_epoch).run()
        keras.backend.clear_session()


def train_bagged(
    settings: TrainerSettings, seed: int, rows: ArmRows, *, on_epoch: Callable[[Epoch], None]
) -> Replicate:
    """Trains the heads of one replicate and makes them one, see `components.trainer.bagging`.

    Args:
      settings: the trainer's settings, with `bagging`; their seed is ignored.
      seed: seed of the choices, weights and batches of all heads.
      rows: features.
      on_epoch: called with the means of the heads' metrics, after all are trained.
    """
    own_val = {rows.val: rows.evaluated[rows.val]}
    stacks = train_heads(
        bagging.member_settings(settings),
        bagging.member_seeds(seed, settings.bagging or 1),
        ArmRows(train=rows.train, val=rows.val, evaluated=own_val),
        on_epoch=lambda epoch: None,
    )
    members = [member for stack in stacks for member in stack]
    if diverged := [member.detail for member in members if member.detail]:
        return Replicate(seed, detail=f"of {len(members)} heads, {len(diverged)}: {diverged[0]}")
    epochs = bagging.mean_epochs([member.epochs for member in members])
    solver = bagging.solver([member.solver for member in members])
    replicate = Replicate(seed, epochs=epochs, solver=solver)
    replicate.weights = bagging.averaged([member.weights for member in members])
    head = HeadStack([replicate.weights], loss=CrossEntropy())
    for name, split in rows.evaluated.items():
        replicate.probabilities[name] = tf.sigmoid(head.logits(split)).numpy()[0]
    for epoch in epochs:
        on_epoch(epoch)
    return replicate


def _solved_heads(
    settings: TrainerSettings,
    seeds: Sequence[int],
    rows: ArmRows,
    on_epoch: Callable[[Epoch], None],
) -> Iterator[list[Replicate]]:
    """Solves a head for each seed, once for seeds that choose the same images."""
    solved: dict[bytes, Replicate] = {}
    for seed in seeds:
        seeded = settings.model_copy(update={"random_state": seed})
        if (key := _choice(seeded, rows.train)) in solved:
            # The time is that of the one that was solved.
            again = [epoch | {"seconds": 0.0} for epoch in solved[key].epochs]
            replicate = replace(solved[key], random_state=seed, epochs=again)
        else:
            replicate = solved[key] = _solved_head(seeded, rows)
        for epoch in replicate.epochs:
            on_epoch(epoch)
        yield [replicate]


def _choice(settings: TrainerSettings, train: Rows) -> bytes:
    """Returns what a solved head's seed changes: which images it uses, or the rows of SMOTE."""
    if methods.smote_of(settings.sampling_strategy):
        return str(settings.random_state).encode()
    return expected_counts(
        train.labels,
        strategy=settings.sampling_strategy,
        random_state=settings.random_state,
    ).tobytes()


def _solved_head(settings: TrainerSettings, rows: ArmRows) -> Replicate:
    replicate = Replicate(settings.random_state)
    try:
        found = solve_head(settings, rows.train, rows.evaluated[rows.val])
    except ValueError as error:
        replicate.detail = str(error)
        return replicate
    shift = post_hoc.shift(rows.train.labels, settings)
    kernel, bias = replicate.weights = post_hoc.shifted(found.weights, shift)
    replicate.epochs, replicate.solver = [found.epoch], found.solver
    replicate.probabilities = {
        name: expit(split.values.astype(np.float32) @ kernel + bias)[:, 0]
        for name, split in rows.evaluated.items()
    }
    return replicate


def _head(settings: TrainerSettings, seed: int, train: Rows) -> keras.Model:
    keras.utils.set_random_seed(seed)
    images = epoch_size(train.labels, settings.sampling_strategy)
    return build_head(settings, train.values.shape[1:], epoch_images=images)


class _HeadTraining:
    """Trains one stack."""

    def __init__(
        self,
        settings: TrainerSettings,
        seeds: Sequence[int],
        rows: ArmRows,
        on_epoch: Callable[[Epoch], None],
    ):
        self._settings = settings
        self._on_epoch = on_epoch
        self._rows = rows
        self._replicates = [Replicate(seed) for seed in seeds]
        self._train = smote.enlarged(rows.train, settings.sampling_strategy, seeds)
        labels = rows.train.labels
        images = epoch_size(labels, settings.sampling_strategy)
        self._loss = training_loss(labels, settings)
        self._shift = post_hoc.shift(labels, settings)
        self._stack = HeadStack(
            [_head(settings, seed, rows.train).get_weights() for seed in seeds],
            loss=self._loss,
            penalty=pooled_penalty(settings, images) if settings.head == "pooled" else 0.0,
        )

    def run(self) -> list[Replicate]:
        """Trains all replicates.

        Returns:
          the replicates, in the order of their seeds.
        """
        while running := self._running():
            self._run_epoch(running)
        for index, replicate in enumerate(self._replicates):
            if replicate.status == TRAINED:
                replicate.weights = post_hoc.shifted(replicate.weights, self._shift)
                self._stack.set_weights(index, replicate.weights)
        self._evaluate()
        return self._replicates

    def _running(self) -> list[int]:
        settings = self._settings
        return [
            index
            for index, replicate in enumerate(self._replicates)
            if not replicate.detail
            and not history.is_finished(
                replicate.epochs, limit=settings.epochs, patience=settings.early_stopping
            )
        ]

    def _run_epoch(self, running: Sequence[int]) -> None:
        """Trains the whole stack for one epoch; the result of finished heads is discarded."""
        settings, replicates = self._settings, self._replicates
        epoch = max(len(replicate.epochs) for replicate in replicates)
        rates = [self._rate(replicate) for replicate in replicates]
        started = time.monotonic()
        orders = np.stack([self._order(index, epoch) for index in range(len(replicates))])
        mixings = self._mixings(orders.shape[1], epoch)
        outputs = self._stack.run_epoch(
            self._train.rows,
            orders,
            batch_size=settings.batch_size,
            loss_weights=self._loss_weights(epoch),
            rates=rates,
            mixings=mixings,
        )
        val = self._evaluate_val()
        seconds = (time.monotonic() - started) / len(replicates)
        for index in running:
            probabilities, losses = outputs[0][index], outputs[1][index]
            labels = self._train.rows.labels[orders[index]]
            if mixings:
                others = labels[mixings[index].partners]
                labels = mixup.mixed(labels, others, mixings[index].shares).round().astype(int)
            logs = epoch_metrics(labels, probabilities, float(losses.mean()))
            logs |= val[index]
            self._record(index, epoch, logs, rates[index], seconds)

    def _order(self, index: int, epoch: int) -> np.ndarray:
        members = self._train.members[index]
        order = epoch_order(
            self._train.rows.labels[members],
            strategy=self._settings.sampling_strategy,
            random_state=self._replicates[index].random_state,
            epoch=epoch,
        )
        return members[order]

    def _mixings(self, images: int, epoch: int) -> list[Mixing]:
        settings = self._settings
        if settings.mixup is None:
            return []
        return [
            mixup.draw(
                images,
                batch_size=settings.batch_size,
                alpha=settings.mixup,
                random_state=replicate.random_state,
                epoch=epoch,
            )
            for replicate in self._replicates
        ]

    def _loss_weights(self, epoch: int) -> np.ndarray:
        weights = epoch_weights(self._rows.train.labels, self._settings, done=epoch) or {}
        labels = self._train.rows.labels
        return np.array([weights.get(int(label), 1.0) for label in labels], np.float32)

    def _rate(self, replicate: Replicate) -> float:
        settings = self._settings
        return history.learning_rate(
            replicate.epochs,
            initial=settings.learning_rate,
            patience=settings.reduce_lr_on_plateau,
        )

    def _evaluate_val(self) -> list[dict[str, float]]:
        val = self._rows.evaluated[self._rows.val]
        logits = self._stack.logits(val)
        labels = np.broadcast_to(val.labels.astype(np.float32), logits.shape)
        losses = self._loss(labels, logits).numpy().mean(axis=1)
        losses = losses + self._stack.penalties()
        probabilities = tf.sigmoid(logits).numpy()
        return [
            val_metrics(val.labels, probabilities[index], float(losses[index]))
            for index in range(len(self._replicates))
        ]

    def _record(
        self, index: int, epoch: int, logs: dict[str, float], rate: float, seconds: float
    ) -> None:
        replicate = self._replicates[index]
        if not math.isfinite(logs["loss"]):
            replicate.detail = (
                f"the loss is {logs['loss']} in epoch {epoch + 1} at a learning rate of {rate:g}"
            )
            return
        record = history.epoch_record(
            logs, epoch=epoch + 1, phase=TRAIN, learning_rate=rate, seconds=seconds
        )
        replicate.epochs.append(record)
        self._on_epoch(record)
        keep = self._settings.keep_epoch
        kept = history.exported_index(replicate.epochs, keep=keep)
        is_kept = kept == len(replicate.epochs) - 1
        if is_kept and (keep == "best" or index not in self._running()):
            replicate.weights = self._stack.get_weights(index)

    def _evaluate(self) -> None:
        for name, rows in self._rows.evaluated.items():
            probabilities = tf.sigmoid(self._stack.logits(rows)).numpy()
            for replicate, values in zip(self._replicates, probabilities, strict=True):
                if replicate.status == TRAINED:
                    replicate.probabilities[name] = values


def train_network(
    settings: TrainerSettings,
    seed: int,
    rows: ArmRows,
    *,
    policy: DevicePolicy,
    checkpoint: Checkpoint,
    on_epoch: Callable[[Epoch], None],
) -> Replicate:
    """Trains a whole network with one seed.

    Args:
      settings: the trainer's settings; their seed is ignored.
      seed: seed of weights and batches.
      rows: images, or the output of the untrained part of the network.
      policy: how the devices are used.
      checkpoint: where this replicate is saved after each epoch.
      on_epoch: called with the metrics of each epoch.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    if settings.bagging is not None:
        return train_bagged(settings, seed, rows, on_epoch=on_epoch)
    settings = settings.model_copy(update={"random_state": seed})
    images = epoch_size(rows.train.labels, settings.sampling_strategy)
    network = build_network(settings, epoch_images=images)
    replicate = Replicate(seed)

    def keep(epoch: Epoch) -> None:
        replicate.epochs.append(epoch)
        on_epoch(epoch)

    training = Training(
        network,
        train=rows.train,
        val=rows.evaluated[rows.val],
        settings=settings,
        policy=policy,
        checkpoint=checkpoint,
        on_epoch=keep,
    )
    try:
        training.run()
    except TrainingDivergedError as error:
        replicate.detail = str(error)
        return replicate
    shift = post_hoc.shift(rows.train.labels, settings)
    replicate.weights = post_hoc.shifted(network.trained.get_weights(), shift)
    network.trained.set_weights(replicate.weights)
    replicate.probabilities = {
        name: _predict(network, split_rows) for name, split_rows in rows.evaluated.items()
    }
    return replicate


def _predict(network: Network, rows: Rows) -> np.ndarray:
    batches = tf.data.Dataset.range(len(rows.labels))
    values = row_batches(rows, batches, batch_size=_PREDICT_BATCH).map(lambda row, _: row)
    return network.trained.predict(values, verbose=0)[:, 0].astype(np.float32)


def save(replicate: Replicate, path: str) -> None:
    """Saves a replicate atomically, so that an interrupted arm can resume after it."""
    saved = {
        "replicate": np.array(json.dumps([replicate.random_state, replicate.detail])),
        "epochs": np.array(json.dumps(replicate.epochs)),
        "solver": np.array(json.dumps(replicate.solver)),
        **{f"{_SPLIT}{name}": values for name, values in replicate.probabilities.items()},
        **arrays.numbered("weight", replicate.weights),
    }
    checked_file.write(path, arrays.packed(saved))


def load(path: str) -> Replicate | None:
    """Returns a replicate that `save` wrote, or None if there is none or it is damaged."""
    content = checked_file.read(path)
    if content is None:
        return None
    saved = arrays.unpacked(content)
    random_state, detail = json.loads(str(saved["replicate"]))
    return Replicate(
        random_state=random_state,
        detail=detail,
        epochs=json.loads(str(saved["epochs"])),
        probabilities={
            name.removeprefix(_SPLIT): values
            for name, values in saved.items()
            if name.startswith(_SPLIT)
        },
        weights=arrays.in_order("weight", saved),
        solver=json.loads(str(saved["solver"])),
    )
