"""The function that TFX's Trainer calls for an arm of a study: one training per seed."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio

from components import arm_predictions, names
from components.progress import Progress
from components.trainer import arrays, replicates
from components.trainer.checkpoint import Checkpoint, identity, origin
from components.trainer.data import Split, read_split
from components.trainer.devices import DevicePolicy, precision, use_devices
from components.trainer.features import Rows, compute_rows, feature_rows
from components.trainer.history import Epoch
from components.trainer.models import build_network
from components.trainer.preprocessing import Preprocessing
from components.trainer.replicates import ArmRows, Replicate, train_heads, train_network
from components.trainer.sampling import training_balance
from components.trainer.settings import TrainerSettings

_LOGGER = logging.getLogger("outnumbered.trainer")

ARM_FILE = "arm.json"
REPLICATES_FILE = "replicates.json"
WEIGHTS_FILE = "first_replicate.npz"
"""`arr_0`, `arr_1`, …, as Keras's `get_weights` of the trained part; empty if it diverged."""


OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What distinguishes an arm from the others, in addition to the trainer's settings.

    Attributes:
      name: name of the arm in the report.
      train_split: the split to train on.
      val_split: the split to monitor training and to choose the threshold on.
      test_splits: the splits to evaluate on.
      replicates: number of trainings; the seed of each is the settings' seed plus its number.
    """

    name: str
    train_split: str
    val_split: str
    test_splits: Sequence[str]
    replicates: int

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Arm":
        """Returns the arm in `values`, whose keys are the names of all attributes.

        Raises:
          ValueError: a key is missing or unknown, or there is no replicate.
        """
        known = {field.name for field in fields(cls)}
        if known != values.keys():
            raise ValueError(f"keys of an arm must be {sorted(known)}. Received: {sorted(values)}")
        if values["replicates"] < 1:
            raise ValueError(f"replicates must be at least 1. Received: {values['replicates']}")
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Returns the arm as plain JSON values, which `from_mapping` reads."""
        return asdict(self)

    @property
    def evaluated_splits(self) -> list[str]:
        """The splits whose probabilities are kept: val, then the test splits."""
        return list(dict.fromkeys([self.val_split, *self.test_splits]))


def run_fn(fn_args: FnArgs) -> None:
    """Trains every replicate of an arm and writes their metrics and predictions.

    Writes to `fn_args.model_run_dir` `arm.json` (the arm's settings and splits),
    `replicates.json` (the epochs of each replicate), and `predictions.parquet` (the probability
    of each image of val and the test splits by each replicate); to `fn_args.serving_model_dir`
    the weights of the trained part of the first replicate. A replicate that diverges is recorded
    with that status, and the others continue. An interrupted arm resumes after its last complete
    replicate.

    Args:
      fn_args: TFX's arguments, with `custom_config` {"trainer": the settings, "arm": see `Arm`,
        "checkpoint_root": the folder for interrupted trainings}; `train_files` has one
        pattern, `eval_files` one for each of the arm's evaluated splits, in order.

    Raises:
      ValueError: the settings or a split can't be used for training.
      FileNotFoundError: a split or the file of weights does not exist.
    """
    started = time.monotonic()
    config = fn_args.custom_config
    settings = TrainerSettings.model_validate(config["trainer"])
    arm = Arm.from_mapping(config["arm"])
    splits = ArmSplits(
        train=read_split(arm.train_split, fn_args.train_files),
        evaluated={
            name: read_split(name, [pattern])
            for name, pattern in zip(arm.evaluated_splits, fn_args.eval_files, strict=True)
        },
    )
    training = _ArmTraining(settings, arm, splits, checkpoint_root=config["checkpoint_root"])
    done = training.run()
    _write_weights(fn_args.serving_model_dir, done[0])
    _write_predictions(fn_args.model_run_dir, done, splits)
    _write_json(
        fn_args.model_run_dir,
        REPLICATES_FILE,
        [_replicate_record(number, replicate) for number, replicate in enumerate(done)],
    )
    summary = _summary(settings, arm, splits)
    summary["seconds"] = round(time.monotonic() - started, 3)
    _write_json(fn_args.model_run_dir, ARM_FILE, summary)
    arm_predictions.write_list(fn_args.model_run_dir, [ARM_FILE, REPLICATES_FILE])
    training.clear()


@dataclass(frozen=True)
class ArmSplits:
    """The splits of an arm: the one to train on, and those to evaluate on."""

    train: Split
    evaluated: Mapping[str, Split]

    @property
    def all(self) -> list[Split]:
        """Every split, train first."""
        return [self.train, *self.evaluated.values()]


class _ArmTraining:
    """Trains all replicates that are not trained yet."""

    def __init__(
        self, settings: TrainerSettings, arm: Arm, splits: ArmSplits, *, checkpoint_root: str
    ):
        self._settings = settings
        self._arm = arm
        self._splits = splits
        self._folder = os.path.join(checkpoint_root, _identity(settings, arm, splits))

    def run(self) -> list[Replicate]:
        """Returns the replicates, in the order of their seeds."""
        seeds = [self._settings.random_state + number for number in range(self._arm.replicates)]
        kept = {seed: replicates.load(self._path(seed)) for seed in seeds}
        missing = [seed for seed, replicate in kept.items() if replicate is None]
        if len(missing) < len(seeds):
            found = len(seeds) - len(missing)
            _LOGGER.info("arm %s resumes after %d of its replicates", self._arm.name, found)
        for replicate in self._trained(missing) if missing else ():
            if replicate.random_state != seeds[0]:
                replicate.weights = []  # only those of the first are written
            replicates.save(replicate, self._path(replicate.random_state))
            kept[replicate.random_state] = replicate
        return [replicate for replicate in kept.values() if replicate is not None]

    def clear(self) -> None:
        """Removes what was saved to resume from."""
        if fileio.exists(self._folder):
            fileio.rmtree(self._folder)

    def _path(self, seed: int) -> str:
        return os.path.join(self._folder, f"replicate-{seed}.npz")

    def _trained(self, seeds: Sequence[int]) -> Iterator[Replicate]:
        solves = self._settings.solves_head
        total = len(seeds) * (1 if solves else self._settings.epochs)
        what = "solved heads" if solves else "epochs"
        progress = Progress(f"{what} of arm {self._arm.name}", total=total)
        policy, strategy = use_devices()
        with strategy.scope(), precision(policy), _local(self._folder) as folder:
            on_features = self._splits.train.features_shape is not None
            train = self._on_features if on_features else self._on_images
            yield from train(seeds, policy, folder, lambda epoch: progress.advance(1))

    def _on_features(
        self, seeds: Sequence[int], policy: DevicePolicy, folder: Path, on_epoch: OnEpoch
    ) -> Iterator[Replicate]:
        rows = self._arm_rows(lambda split, path: feature_rows(split, path=path), folder)
        yield from self._heads(seeds, rows, on_epoch)

    def _heads(self, seeds: Sequence[int], rows: ArmRows, on_epoch: OnEpoch) -> Iterator[Replicate]:
        for stack in train_heads(self._settings, seeds, rows, on_epoch=on_epoch):
            yield from stack

    def _on_images(
        self, seeds: Sequence[int], policy: DevicePolicy, folder: Path, on_epoch: OnEpoch
    ) -> Iterator[Replicate]:
        settings = self._settings
        body = build_network(settings).body
        preprocessing = Preprocessing(settings.image_size, settings.pixel_range)
        rows = self._arm_rows(
            lambda split, path: compute_rows(
                split, body, preprocessing, path=path, jit_compile=policy.jit_compile
            ),
            folder,
        )
        if settings.solves_head:
            yield from self._heads(seeds, rows, on_epoch)
            return
        for seed in seeds:
            yield train_network(
                settings,
                seed,
                rows,
                policy=policy,
                checkpoint=Checkpoint(os.path.join(self._folder, f"epochs-{seed}")),
                on_epoch=on_epoch,
            )

    def _arm_rows(self, read: Callable[[Split, Path], Rows], folder: Path) -> ArmRows:
        rows = {
            split.name: read(split, folder / f"{split.name}.rows") for split in self._splits.all
        }
        return ArmRows(
            train=rows[self._arm.train_split],
            val=self._arm.val_split,
            evaluated={name: rows[name] for name in self._arm.evaluated_splits},
        )


def _identity(settings: TrainerSettings, arm: Arm, splits: ArmSplits) -> str:
    """Returns a digest of what a replicate depends on; the number of replicates is not included."""
    content = [*origin(settings), arm.evaluated_splits, *(split.digest for split in splits.all)]
    return f"arm-{identity(content)}"


@contextmanager
def _local(folder: str) -> Iterator[Path]:
    """Yields the folder of the rows while the arm trains: local, or temporary if it is remote."""
    if "://" not in folder:
        yield Path(folder)
        return
    with TemporaryDirectory() as temporary:
        yield Path(temporary)


def _replicate_record(number: int, replicate: Replicate) -> dict[str, Any]:
    return {
        "replicate": number,
        "random_state": replicate.random_state,
        "status": replicate.status,
        "detail": replicate.detail,
        "epochs": replicate.epochs,
        "solver": replicate.solver or None,
    }


def _summary(settings: TrainerSettings, arm: Arm, splits: ArmSplits) -> dict[str, Any]:
    values = arm.as_json()
    return {
        "arm": values.pop("name"),
        **values,
        "settings": settings.model_dump(),
        "training_balance": asdict(training_balance(splits.train.labels, settings)),
        "splits": {
            split.name: {"positives": split.positives, "negatives": split.negatives}
            for split in splits.all
        },
    }


def _write_weights(folder: str, first: Replicate) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, WEIGHTS_FILE), "wb") as file:
        file.write(arrays.packed(arrays.numbered("arr", first.weights)))


def _write_predictions(folder: str, done: Sequence[Replicate], splits: ArmSplits) -> None:
    tables = [
        pd.DataFrame(
            {
                arm_predictions.REPLICATE: np.int32(number),
                arm_predictions.SPLIT: name,
                names.IMAGE_ID: _texts(splits.evaluated[name].image_ids),
                names.LABEL: splits.evaluated[name].labels,
                names.CLASS_NAME: _texts(splits.evaluated[name].class_names),
                names.PROBABILITY: probabilities,
            }
        )
        for number, replicate in enumerate(done)
        for name, probabilities in replicate.probabilities.items()
    ]
    arm_predictions.write(tables, folder)


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() for value in values]


def _write_json(folder: str, name: str, value: Any) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, name), "w") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
