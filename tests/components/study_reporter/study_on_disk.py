"""Writes simulated arms of a study, whose true differences are known."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.types import standard_artifacts

from components import arm_predictions, artifacts, names
from components.study_reporter import executor, record

EPOCHS = 6


@dataclass
class ArmOnDisk:
    """The simulated predictions of an arm.

    Attributes:
      name: name of the arm.
      shift: log odds added to every image; changes the predictions at 0.5, not the ranking.
      skill: distance of the two classes in log odds; the noise of an image has a standard deviation
        of about 2.
      val_split: split for choosing the threshold.
      test_splits: splits for the evaluation.
      diverged: reason by replicate.
      settings: settings of the arm, added to the defaults.
      solver: how the heads were solved.
    """

    name: str
    shift: float = 0.0
    skill: float = 8.0
    val_split: str = "val"
    test_splits: Sequence[str] = ("test",)
    diverged: dict[int, str] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    solver: dict | None = None


@dataclass
class StudyOnDisk:
    """Arms evaluated on the same images; `splits` has the positives and negatives of each split.

    With several `draws`, the images of a split are drawn from twice as many, and `replicates` is
    the number of seeds on each draw.
    """

    root: Path
    arms: Sequence[ArmOnDisk]
    splits: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"train": (150, 1500), "val": (100, 1000), "test": (100, 1000)}
    )
    replicates: int = 10
    seed: int = 1
    positive_class: str = "dogs"
    draws: int = 1

    def write(self) -> "StudyOnDisk":
        for index, arm in enumerate(self.arms):
            folder = self.folder(index)
            folder.mkdir(parents=True)
            (folder / "arm.json").write_text(json.dumps(self._metadata(arm)))
            rows = [self._replicate(arm, number) for number in range(self.replicates * self.draws)]
            (folder / "replicates.json").write_text(json.dumps(rows))
            self.write_predictions(index, self._predictions(arm, index))
        return self

    def write_predictions(self, index: int, rows: pa.Table) -> None:
        folder = self.folder(index)
        pq.write_table(rows, folder / arm_predictions.FILE)
        arm_predictions.write_list(str(folder), ["arm.json", "replicates.json"])

    def folder(self, index: int) -> Path:
        return self.root / f"arm{index}"

    def read(self) -> list[record.Arm]:
        return [
            record.read(str(self.folder(index)), arm.name) for index, arm in enumerate(self.arms)
        ]

    def report(self, **study) -> Path:
        """Runs the StudyReporter and returns the folder of the report."""
        inputs = {}
        for index in range(len(self.arms)):
            run = standard_artifacts.ModelRun()
            run.uri = str(self.folder(index))
            inputs[executor.input_key(index)] = [run]
        report = artifacts.StudyReport()
        report.uri = str(self.root / "report")
        settings = {
            executor.TITLE: "study of balance",
            executor.ARMS: json.dumps([arm.name for arm in self.arms]),
            executor.STUDY: json.dumps({"name": "balance", "settings": {"scale": 1}, **study}),
        }
        executor.Executor().Do(inputs, {names.STUDY_REPORT: [report]}, settings)
        return Path(report.uri)

    def images(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns labels, and the difficulty of each image for all models."""
        times = 1 if self.draws == 1 else 2
        positives, negatives = (times * count for count in self.splits[split])
        rng = np.random.default_rng([self.seed, *split.encode()])
        labels = np.repeat([1, 0], [positives, negatives])
        return labels, rng.normal(0, 1.6, labels.size)

    def drawn(self, split: str, number: int) -> np.ndarray:
        """Returns the images of a split in the draw of a replicate."""
        labels, _ = self.images(split)
        if self.draws == 1:
            return np.arange(labels.size)
        rng = np.random.default_rng([number // self.replicates, *split.encode()])
        sides = [np.flatnonzero(labels == label) for label in (1, 0)]
        return np.concatenate([rng.permutation(side)[: side.size // 2] for side in sides])

    def probabilities(self, arm: ArmOnDisk, index: int, number: int, split: str) -> np.ndarray:
        labels, difficulty = self.images(split)
        rng = np.random.default_rng([self.seed, index, number])
        own_shift = rng.normal(0, 0.3)
        noise = np.random.default_rng([self.seed, index, number, *split.encode()])
        scores = arm.skill * (labels - 0.5) + difficulty + noise.normal(0, 1.0, labels.size)
        return 1 / (1 + np.exp(-(scores + arm.shift + own_shift)))

    def _metadata(self, arm: ArmOnDisk) -> dict:
        return {
            "arm": arm.name,
            "settings": {
                "model": "xception",
                "sampling_strategy": "representative",
                "class_weight": None,
                "learning_rate": 3e-4,
                **arm.settings,
            },
            "train_split": "train",
            "val_split": arm.val_split,
            "test_splits": list(arm.test_splits),
            "replicates": self.replicates,
            "draws": self.draws,
            "overlap": {
                name: {"positives": 0.5, "negatives": 0.5}
                for name in ("train", arm.val_split, *arm.test_splits)
                if self.draws > 1
            },
            "splits": {
                name: {"positives": self.splits[name][0], "negatives": self.splits[name][1]}
                for name in ("train", arm.val_split, *arm.test_splits)
            },
            "seconds": 12.3,
        }

    def _replicate(self, arm: ArmOnDisk, number: int) -> dict:
        diverged = arm.diverged.get(number)
        rng = np.random.default_rng([self.seed, number])
        epochs = [
            {
                "epoch": epoch + 1,
                "phase": "train",
                "loss": 0.3 * 0.7**epoch + rng.uniform(0, 0.03),
                "val_loss": 0.35 * 0.75**epoch + 0.05 + rng.uniform(0, 0.05),
                "learning_rate": 3e-4,
                "seconds": 1.0,
            }
            for epoch in range(EPOCHS if diverged is None else 2)
        ]
        return {
            "replicate": number,
            "draw": number // self.replicates,
            "random_state": 42000 + number,
            "status": "trained" if diverged is None else "diverged",
            "detail": diverged or "",
            "epochs": epochs,
            "solver": arm.solver,
        }

    def _predictions(self, arm: ArmOnDisk, index: int) -> pa.Table:
        parts = []
        for number in range(self.replicates * self.draws):
            if number in arm.diverged:
                continue
            for split in dict.fromkeys([arm.val_split, *arm.test_splits]):
                chosen = self.drawn(split, number)
                labels, count = self.images(split)[0][chosen], chosen.size
                classes = [self.positive_class if label else "cats" for label in labels]
                columns = {
                    arm_predictions.REPLICATE: [number] * count,
                    arm_predictions.DRAW: [number // self.replicates] * count,
                    arm_predictions.SPLIT: [split] * count,
                    names.IMAGE_ID: [
                        f"{split}{image * 7919 % 100003:06d}" for image in chosen.tolist()
                    ],
                    names.LABEL: labels.tolist(),
                    names.CLASS_NAME: classes,
                    names.PROBABILITY: self.probabilities(arm, index, number, split)[chosen],
                }
                parts.append(pa.table(columns).cast(arm_predictions.SCHEMA))
        return pa.concat_tables(parts) if parts else arm_predictions.SCHEMA.empty_table()
