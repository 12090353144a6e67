"""The function that TFX's Trainer calls."""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio

from components import feature_records, names
from components.images.rules import ReadingRules
from components.trainer import executor, history, post_hoc, solved_head, warm_start
from components.trainer.checkpoint import Checkpoint, training_identity
from components.trainer.data import Split, read_split
from components.trainer.devices import DevicePolicy, precision, use_devices
from components.trainer.export import export
from components.trainer.features import Rows, compute_rows, feature_rows
from components.trainer.history import Epoch
from components.trainer.models import Network, build_network, each_view
from components.trainer.preprocessing import Preprocessing
from components.trainer.replicates import ArmRows, train_bagged
from components.trainer.sampling import epoch_size, training_balance
from components.trainer.settings import TrainerSettings
from components.trainer.tensorboard import TensorBoardLog
from components.trainer.training import Training, TrainingDivergedError
from components.trainer.units import UnitRule
from components.trainer.warm_start import ChampionWeights
from components.training_balance import TrainingBalance

_LOGGER = logging.getLogger("outnumbered.trainer")


def run_fn(fn_args: FnArgs) -> None:
    """Trains the model of the settings and exports it.

    Writes a SavedModel to `fn_args.serving_model_dir`, and `history.json` and TensorBoard's
    logs to `fn_args.model_run_dir`. An interrupted training resumes after its last complete
    epoch if it is started again with the same settings and images.

    Args:
      fn_args: TFX's arguments, with `custom_config` {"trainer": the settings, "reading": the
        `max_side` and `max_pixels` of the images, "checkpoint_root": the folder for
        interrupted trainings, "units": see `UnitRule`, "champion": for a warm start, the URI of
        the Champion artifact}.

    Raises:
      ValueError: the settings or a split can't be used for training, or a feature of a head that
        is solved is not a finite number.
      FileNotFoundError: a split or the file of weights does not exist.
      WarmStartError: the champion's weights don't fit.
      TrainingDivergedError: the loss is no longer a number.
    """
    started = time.monotonic()
    settings = TrainerSettings.model_validate(fn_args.custom_config["trainer"])
    rule = UnitRule.of_config(fn_args.custom_config) if settings.chooses_penalty else None
    splits = (
        read_split(names.TRAIN, fn_args.train_files, rule=rule),
        read_split(names.VAL, fn_args.eval_files),
    )
    champion = _champion(settings, fn_args)
    digest = champion.digest if champion else ""
    identity = training_identity(settings, splits, champion=digest)
    checkpoint = Checkpoint(os.path.join(fn_args.custom_config["checkpoint_root"], identity))
    keras.utils.set_random_seed(settings.random_state)
    trained = _train(settings, splits, checkpoint, fn_args.model_run_dir, champion)
    rules = ReadingRules(
        image_size=settings.image_size,
        pixel_range=settings.pixel_range,
        **fn_args.custom_config["reading"],
    )
    balance = training_balance(splits[0].labels, settings)
    exact = splits[0].features_type == feature_records.EXACT
    _export(trained.network, settings, rules, balance, fn_args.serving_model_dir, with_head=exact)
    summary = _summary(trained, settings, splits)
    summary["seconds"] = round(time.monotonic() - started, 3)
    _write_json(os.path.join(fn_args.model_run_dir, "history.json"), summary)
    checkpoint.clear()


def _champion(settings: TrainerSettings, fn_args: FnArgs) -> ChampionWeights | None:
    if settings.warm_start is None:
        return None
    if settings.solves_head:
        _LOGGER.info("no warm start: the head is solved exactly, whatever weights it begins with")
        return None
    return warm_start.read(fn_args.custom_config[executor.CHAMPION])


class _Trained(NamedTuple):
    """A trained network, its epochs, and how its head was solved, None if it was not."""

    network: Network
    epochs: list[Epoch]
    solver: dict[str, Any] | None


def _train(
    settings: TrainerSettings,
    splits: tuple[Split, Split],
    checkpoint: Checkpoint,
    model_run_dir: str,
    champion: ChampionWeights | None,
) -> _Trained:
    policy, strategy = use_devices()
    with strategy.scope(), precision(policy):
        images = epoch_size(splits[0].labels, settings.sampling_strategy)
        network = build_network(settings, epoch_images=images)
        if champion is not None:
            # A training that resumes replaces them by those of its checkpoint.
            warm_start.apply(champion, network)
        with _rows_folder(checkpoint) as folder:
            train, val = (
                _rows(split, network, settings, policy, folder, views=views)
                for split, views in zip(splits, (settings.row_views, None), strict=True)
            )
            log = TensorBoardLog(os.path.join(model_run_dir, "tensorboard"))
            if settings.bagging is not None:
                return _bag(network, settings, train, val, log)
            if settings.solves_head:
                trained = _solve(network, settings, train, val, log)
            else:
                training = Training(
                    network,
                    train=train,
                    val=val,
                    settings=settings,
                    policy=policy,
                    checkpoint=checkpoint,
                    on_epoch=log.write,
                )
                trained = _Trained(network, training.run(), None)
        shift = post_hoc.shift(splits[0].labels, settings)
        network.trained.set_weights(post_hoc.shifted(network.trained.get_weights(), shift))
        return trained


def _bag(
    network: Network, settings: TrainerSettings, train: Rows, val: Rows, log: TensorBoardLog
) -> _Trained:
    rows = ArmRows(train=train, val=names.VAL, evaluated={names.VAL: val})
    found = train_bagged(settings, settings.random_state, rows, on_epoch=log.write)
    if found.detail:
        raise TrainingDivergedError(
            f"training diverged: {found.detail}; lower trainer.learning_rate"
        )
    network.trained.set_weights(found.weights)
    if found.solver:
        _LOGGER.info("%s", history.solver_sentence(found.solver))
    return _Trained(network, found.epochs, found.solver or None)


def _solve(
    network: Network, settings: TrainerSettings, train: Rows, val: Rows, log: TensorBoardLog
) -> _Trained:
    found = solved_head.solve_head(settings, train, val)
    network.trained.set_weights(found.weights)
    log.write(found.epoch)
    _LOGGER.info(
        "%s; val pr_auc %.3f",
        history.solver_sentence(found.solver),
        found.epoch[history.MONITORED],
    )
    return _Trained(network, [found.epoch], found.solver)


@contextmanager
def _rows_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yields the folder of the rows: the checkpoint's, to be kept after a crash, if it is local."""
    if "://" not in checkpoint.folder:
        yield Path(checkpoint.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _rows(
    split: Split,
    network: Network,
    settings: TrainerSettings,
    policy: DevicePolicy,
    folder: Path,
    *,
    views: int | None,
) -> Rows:
    if split.features_shape is not None:
        expected = tuple(network.trained.input_shape[1:])
        if split.features_shape != expected:
            raise ValueError(
                f"split {split.name!r} must have features of shape {expected} for this model; "
                f"extract them with its settings. Received: {split.features_shape}"
            )
        return feature_rows(split, path=folder / f"{split.name}.rows", views=views)
    return compute_rows(
        split,
        network.body if views is None or network.body is None else each_view(network.body),
        Preprocessing(settings.image_size, settings.pixel_range),
        path=folder / f"{split.name}.rows",
        jit_compile=policy.jit_compile,
    )


def _export(
    network: Network,
    settings: TrainerSettings,
    rules: ReadingRules,
    balance: TrainingBalance,
    folder: str,
    *,
    with_head: bool,
) -> None:
    # A new network: in float32 even after training in mixed precision, to serve on any device,
    # and without the optimizer, which would triple the file's size.
    served = build_network(settings, weights="none")
    served.full.set_weights(network.full.get_weights())
    head = served.trained if with_head else None
    export(served.full, rules, folder, balance=balance, head=head)


def _summary(
    trained: _Trained, settings: TrainerSettings, splits: tuple[Split, Split]
) -> dict[str, Any]:
    network, epochs, solver = trained
    return {
        "model": settings.model,
        "parameters": network.full.count_params(),
        "trainable_parameters": sum(
            int(tf.size(weight)) for weight in network.trained.trainable_weights
        ),
        "settings": settings.model_dump(),
        "splits": {
            split.name: {"positives": split.positives, "negatives": split.negatives}
            for split in splits
        },
        "epochs": epochs,
        "best_epoch": history.best_index(epochs) + 1,
        "exported_epoch": history.exported_index(epochs, keep=settings.keep_epoch) + 1,
        "keep_epoch": settings.keep_epoch,
        "solver": solver,
    }


def _write_json(path: str, value: dict[str, Any]) -> None:
    fileio.makedirs(os.path.dirname(path))
    with fileio.open(path, "w") as file:
        file.write(json.dumps(value, indent=2))
