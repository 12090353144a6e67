"""The function that TFX's Trainer calls for an arm of a study: one training per draw and seed."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio

from components import arm_predictions, names
from components.imbalance_sampler import draws as drawn_splits
from components.progress import Progress
from components.trainer import arrays, executor, replicates, units
from components.trainer.checkpoint import Checkpoint, identity, origin
from components.trainer.data import Split, read_split
from components.trainer.devices import DevicePolicy, precision, use_devices
from components.trainer.draws import DrawnSplits, Part, overlap, parts_of, subset
from components.trainer.features import Rows, compute_rows, feature_rows
from components.trainer.history import Epoch
from components.trainer.models import build_network, each_view
from components.trainer.preprocessing import Preprocessing
from components.trainer.replicates import ArmRows, Replicate, train_heads, train_network
from components.trainer.sampling import training_balance
from components.trainer.settings import TrainerSettings
from components.trainer.units import UnitRule

_LOGGER = logging.getLogger("outnumbered.trainer")

ARM_FILE = "arm.json"
REPLICATES_FILE = "replicates.json"
WEIGHTS_FILE = "first_replicate.npz"
"""`arr_0`, `arr_1`, …, as Keras's `get_weights` of the trained part; empty if it diverged."""


OnEpoch = Callable[[Epoch], None]
_Key = tuple[str, int | None]
"""Name of a split, and the number of views whose features are rows of their own; None: of none."""


@dataclass(frozen=True)
class Point:
    """Numbers of training images of a learning curve; None: all of the training split."""

    positives: int | None
    negatives: int | None


@dataclass(frozen=True)
class Cell:
    """One training of an arm.

    Attributes:
      point: index of the numbers of training images; 0 if the arm has no curve.
      draw: number of the draw of the splits.
      random_state: the seed.
    """

    point: int
    draw: int
    random_state: int

    @property
    def file(self) -> str:
        """Name of the file in which it is saved until the arm is finished."""
        return f"replicate-{self._place}{self.random_state}.npz"

    @property
    def checkpoint(self) -> str:
        """Name of the folder in which it is saved while it is trained."""
        return f"epochs-{self._place}{self.random_state}"

    @property
    def _place(self) -> str:
        numbers = {"point": self.point, "draw": self.draw}
        return "".join(f"{name}{number}-" for name, number in numbers.items() if number)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What distinguishes an arm from the others, in addition to the trainer's settings.

    Attributes:
      name: name of the arm in the report.
      train_split: the split to train on.
      val_split: the split to monitor training and to choose the threshold on.
      test_splits: the splits to evaluate on.
      replicates: number of trainings on each draw of the splits; the seed of each is that of the
        draw plus its number, and the seed of the first draw is the settings'.
      draws: how often the splits are drawn; with several, the examples have one split with all
        images, and the draws are in the Sampling artifact.
      points: numbers of training images to train with, for a learning curve; empty: with all.
    """

    name: str
    train_split: str
    val_split: str
    test_splits: Sequence[str]
    replicates: int
    draws: int = 1
    points: Sequence[Point] = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Arm":
        """Returns the arm in `values`, whose keys are names of attributes.

        Raises:
          ValueError: a key is missing or unknown, or there is no replicate or draw.
        """
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if not required <= values.keys() <= known:
            raise ValueError(f"keys of an arm must be {sorted(known)}. Received: {sorted(values)}")
        for key in ("replicates", "draws"):
            if values.get(key, 1) < 1:
                raise ValueError(f"{key} must be at least 1. Received: {values[key]}")
        points = tuple(Point(**point) for point in values.get("points", ()))
        return cls(**{**values, "points": points})

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
    of each image of val and the test splits of its draw by each replicate); to
    `fn_args.serving_model_dir` the weights of the trained part of the first replicate. A replicate
    that diverges is recorded with that status, and the others continue. An interrupted arm resumes
    after its last complete replicate.

    Args:
      fn_args: TFX's arguments, with `custom_config` {"trainer": the settings, "arm": see `Arm`,
        "checkpoint_root": the folder for interrupted trainings, "units": see `UnitRule`}, and with
        several draws "sampling", the URI of the Sampling artifact; `train_files` has one pattern,
        `eval_files` one for each of the arm's evaluated splits, in order, with one draw.

    Raises:
      ValueError: the settings or a split can't be used for training.
      FileNotFoundError: a split or the file of weights does not exist.
    """
    started = time.monotonic()
    config = fn_args.custom_config
    settings = TrainerSettings.model_validate(config["trainer"])
    arm = Arm.from_mapping(config["arm"])
    draws = read_draws(
        arm,
        fn_args.train_files,
        fn_args.eval_files,
        config.get(executor.SAMPLING),
        rule=UnitRule.of_config(config) if settings.chooses_penalty else None,
    )
    training = _ArmTraining(settings, arm, draws, checkpoint_root=config["checkpoint_root"])
    done = training.run()
    _write_weights(fn_args.serving_model_dir, next(iter(done.values())))
    _write_predictions(fn_args.model_run_dir, done, draws)
    _write_json(
        fn_args.model_run_dir,
        REPLICATES_FILE,
        [_replicate_record(number, arm, *each) for number, each in enumerate(done.items())],
    )
    summary = _summary(settings, arm, draws)
    summary["seconds"] = round(time.monotonic() - started, 3)
    _write_json(fn_args.model_run_dir, ARM_FILE, summary)
    arm_predictions.write_list(fn_args.model_run_dir, [ARM_FILE, REPLICATES_FILE])
    training.clear()


def read_draws(
    arm: Arm,
    train_files: Sequence[str],
    eval_files: Sequence[str],
    sampling: str | None,
    *,
    rule: UnitRule | None = None,
) -> list[DrawnSplits]:
    """Reads the labels of an arm's splits in each draw.

    Args:
      arm: the arm.
      train_files: patterns of its training split, or of the split with all images.
      eval_files: with one draw, one pattern for each evaluated split, in order.
      sampling: with several draws, the URI of the Sampling artifact.
      rule: which images to train on are of one unit; None if the units are not used.

    Raises:
      FileNotFoundError: a split does not exist.
      ValueError: a split has no positive or no negative image.
    """
    if arm.draws == 1:
        train = Part(arm.train_split, read_split(arm.train_split, train_files, rule=rule))
        found = {
            name: Part(name, read_split(name, [pattern]))
            for name, pattern in zip(arm.evaluated_splits, eval_files, strict=True)
        }
        return [DrawnSplits(train, found)]
    if sampling is None:
        raise ValueError(f"arm {arm.name!r} with {arm.draws} draws must have a Sampling artifact")
    source = read_split(names.DRAWN, train_files, rule=rule)
    drawn = []
    for number, rows in enumerate(drawn_splits.read(sampling)[: arm.draws]):
        train, *evaluated = (
            parts_of(number, split, source, rows)
            for split in [arm.train_split, *arm.evaluated_splits]
        )
        drawn.append(DrawnSplits(train, {part.name: part for part in evaluated}))
    return drawn


class _ArmTraining:
    """Trains all replicates that are not trained yet."""

    def __init__(
        self,
        settings: TrainerSettings,
        arm: Arm,
        draws: Sequence[DrawnSplits],
        *,
        checkpoint_root: str,
    ):
        self._settings = settings
        self._arm = arm
        self._draws = draws
        self._folder = os.path.join(checkpoint_root, _identity(settings, arm, draws))

    def run(self) -> dict[Cell, Replicate]:
        """Returns the replicates, by point, draw and seed in this order."""
        cells = self._cells()
        kept = {cell: replicates.load(self._path(cell)) for cell in cells}
        missing = [cell for cell, replicate in kept.items() if replicate is None]
        if len(missing) < len(cells):
            found = len(cells) - len(missing)
            _LOGGER.info("arm %s resumes after %d of its replicates", self._arm.name, found)
        for cell, replicate in self._trained(missing) if missing else ():
            if cell != cells[0]:
                replicate.weights = []  # only those of the first are written
            replicates.save(replicate, self._path(cell))
            kept[cell] = replicate
        return {cell: replicate for cell, replicate in kept.items() if replicate is not None}

    def clear(self) -> None:
        """Removes what was saved to resume from."""
        if fileio.exists(self._folder):
            fileio.rmtree(self._folder)

    def _cells(self) -> list[Cell]:
        firsts = drawn_splits.random_states(self._settings.random_state, self._arm.draws)
        return [
            Cell(point, draw, first + number)
            for point in range(len(self._arm.points) or 1)
            for draw, first in enumerate(firsts)
            for number in range(self._arm.replicates)
        ]

    def _path(self, cell: Cell) -> str:
        return os.path.join(self._folder, cell.file)

    def _trained(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Replicate]]:
        solves = self._settings.solves_head
        total = len(cells) * (1 if solves else self._settings.epochs)
        what = "solved heads" if solves else "epochs"
        progress = Progress(f"{what} of arm {self._arm.name}", total=total)
        policy, strategy = use_devices()
        with strategy.scope(), precision(policy), _local(self._folder) as folder:
            rows = self._rows(policy, folder)
            for (point, draw), together in groupby(cells, lambda cell: (cell.point, cell.draw)):
                of_arm = self._arm_rows(rows, point, draw)
                seeds = [cell.random_state for cell in together]
                for replicate in self._replicates(
                    seeds, of_arm, policy, (point, draw), lambda epoch: progress.advance(1)
                ):
                    yield Cell(point, draw, replicate.random_state), replicate

    def _replicates(
        self,
        seeds: Sequence[int],
        rows: ArmRows,
        policy: DevicePolicy,
        place: tuple[int, int],
        on_epoch: OnEpoch,
    ) -> Iterator[Replicate]:
        on_features = self._draws[0].train.source.features_shape is not None
        if on_features or self._settings.solves_head:
            for stack in train_heads(self._settings, seeds, rows, on_epoch=on_epoch):
                yield from stack
            return
        for seed in seeds:
            checkpoint = os.path.join(self._folder, Cell(*place, seed).checkpoint)
            yield train_network(
                self._settings,
                seed,
                rows,
                policy=policy,
                checkpoint=Checkpoint(checkpoint),
                on_epoch=on_epoch,
            )

    def _rows(self, policy: DevicePolicy, folder: Path) -> dict[_Key, Rows]:
        """Returns the rows of all images, each image read once for all draws."""
        views = self._settings.row_views
        sources: dict[_Key, Split] = {}
        for draw in self._draws:
            sources[draw.train.source.name, views] = draw.train.source
            sources |= {(part.source.name, None): part.source for part in draw.evaluated.values()}
        read = self._reader(policy)
        return {
            (name, views): read(source, folder / f"{name}{'.views' if views else ''}.rows", views)
            for (name, views), source in sources.items()
        }

    def _reader(self, policy: DevicePolicy) -> Callable[[Split, Path, int | None], Rows]:
        if self._draws[0].train.source.features_shape is not None:
            return lambda split, path, views: feature_rows(split, path=path, views=views)
        settings = self._settings
        body = build_network(settings).body
        preprocessing = Preprocessing(settings.image_size, settings.pixel_range)

        def compute(split: Split, path: Path, views: int | None) -> Rows:
            seen = body if views is None or body is None else each_view(body)
            jit_compile = policy.jit_compile
            return compute_rows(split, seen, preprocessing, path=path, jit_compile=jit_compile)

        return compute

    def _arm_rows(self, rows: Mapping[_Key, Rows], point: int, draw: int) -> ArmRows:
        splits = self._draws[draw]
        train = self._train_part(point, draw)
        return ArmRows(
            train=rows[train.source.name, self._settings.row_views].take(train.rows),
            val=self._arm.val_split,
            evaluated={
                name: rows[part.source.name, None].take(part.rows)
                for name, part in splits.evaluated.items()
            },
        )

    def _train_part(self, point: int, draw: int) -> Part:
        train = self._draws[draw].train
        if not self._arm.points:
            return train
        numbers = self._arm.points[point]
        (*_, seed) = drawn_splits.random_states(self._settings.random_state, draw + 1)
        return subset(
            train, positives=numbers.positives, negatives=numbers.negatives, random_state=seed
        )


def _identity(settings: TrainerSettings, arm: Arm, draws: Sequence[DrawnSplits]) -> str:
    """Returns a digest of what a replicate depends on; the number of replicates is not included."""
    digests = [part.source.digest for part in draws[0].all]
    content = [*origin(settings), arm.evaluated_splits, *digests]
    if arm.draws > 1:
        rows = [_digest(part.rows) for draw in draws for part in draw.all if part.rows is not None]
        content += [arm.train_split, *rows]
    content += [asdict(point) for point in arm.points]
    content += units.origin(draws[0].train.source.units)
    return f"arm-{identity(content)}"


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


@contextmanager
def _local(folder: str) -> Iterator[Path]:
    """Yields the folder of the rows while the arm trains: local, or temporary if it is remote."""
    if "://" not in folder:
        yield Path(folder)
        return
    with TemporaryDirectory() as temporary:
        yield Path(temporary)


def _replicate_record(number: int, arm: Arm, cell: Cell, replicate: Replicate) -> dict[str, Any]:
    return {
        "replicate": number,
        "draw": cell.draw,
        **({"point": cell.point} if arm.points else {}),
        "random_state": replicate.random_state,
        "status": replicate.status,
        "detail": replicate.detail,
        "epochs": replicate.epochs,
        "solver": replicate.solver or None,
    }


def _summary(settings: TrainerSettings, arm: Arm, draws: Sequence[DrawnSplits]) -> dict[str, Any]:
    values = arm.as_json()
    first = draws[0]
    return {
        "arm": values.pop("name"),
        **values,
        "settings": settings.model_dump(),
        "training_balance": asdict(training_balance(first.train.labels, settings)),
        "splits": {
            part.name: {"positives": part.positives, "negatives": part.negatives}
            for part in first.all
        },
        "overlap": _overlap(draws),
        **({"points": _whole_points(arm, first.train)} if arm.points else {}),
    }


def _whole_points(arm: Arm, train: Part) -> list[dict[str, int]]:
    """Returns the points with the numbers of the training split in place of None."""
    whole = {"positives": train.positives, "negatives": train.negatives}
    return [
        {key: whole[key] if count is None else count for key, count in asdict(point).items()}
        for point in arm.points
    ]


def _overlap(draws: Sequence[DrawnSplits]) -> dict[str, dict[str, float]]:
    """Returns `draws.overlap` of each split; empty with one draw."""
    if len(draws) == 1:
        return {}
    by_split = zip(*(draw.all for draw in draws), strict=True)
    return {parts[0].name: overlap(parts) for parts in by_split}


def _write_weights(folder: str, first: Replicate) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, WEIGHTS_FILE), "wb") as file:
        file.write(arrays.packed(arrays.numbered("arr", first.weights)))


def _write_predictions(
    folder: str, done: Mapping[Cell, Replicate], draws: Sequence[DrawnSplits]
) -> None:
    columns = {
        (number, part.name): {
            names.IMAGE_ID: _texts(part.image_ids),
            names.LABEL: part.labels,
            names.CLASS_NAME: _texts(part.class_names),
        }
        for number, draw in enumerate(draws)
        for part in draw.evaluated.values()
    }
    tables = (
        pd.DataFrame(
            {
                arm_predictions.REPLICATE: np.int32(number),
                arm_predictions.DRAW: np.int32(cell.draw),
                arm_predictions.SPLIT: name,
                **columns[cell.draw, name],
                names.PROBABILITY: probabilities,
            }
        )
        for number, (cell, replicate) in enumerate(done.items())
        for name, probabilities in replicate.probabilities.items()
    )
    arm_predictions.write(tables, folder)


def _texts(values: np.ndarray) -> list[str]:
    return [value.decode() for value in values]


def _write_json(folder: str, name: str, value: Any) -> None:
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, name), "w") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
