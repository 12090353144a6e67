"""Reads the results of a study's arms as plain arrays."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tfx.dsl.io import fileio

from components import arm_predictions, names
from components.arm_predictions import REPLICATE, SPLIT

TRAINED = "trained"

_INVALID = "predicted probabilities that are not numbers from 0 to 1"


@dataclass(frozen=True)
class SplitScores:
    """Predictions of an arm's replicates on a split, in increasing order of image_id.

    Attributes:
      image_ids: str (n,).
      labels: int64 (n,), 1 for the positive class.
      class_names: str (n,).
      probabilities: float32 (r, n), one row per trained replicate.
    """

    image_ids: NDArray
    labels: NDArray[np.int64]
    class_names: NDArray
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Replicate:
    """One training of an arm.

    Attributes:
      number: from 0; the same number has the same seed in every arm.
      random_state: the seed.
      diverged: why it is excluded; None if it is trained.
      epochs: metrics by epoch, see `components.trainer.history`.
    """

    number: int
    random_state: int
    diverged: str | None
    epochs: list[dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One way to train, with the results of its replicates.

    Attributes:
      name: unique in the study.
      metadata: content of `arm.json`.
      replicates: in order of their number.
      scores: by split; empty if no replicate is trained.
      predictions: the rows of `scores`, see `components.arm_predictions`.
    """

    name: str
    metadata: dict[str, Any]
    replicates: list[Replicate]
    scores: dict[str, SplitScores]
    predictions: pd.DataFrame

    @property
    def trained(self) -> list[Replicate]:
        """Trained replicates, in the order of the rows of `SplitScores.probabilities`."""
        return [replicate for replicate in self.replicates if replicate.diverged is None]

    @property
    def diverged(self) -> list[Replicate]:
        """Replicates that are excluded."""
        return [replicate for replicate in self.replicates if replicate.diverged is not None]

    @property
    def test_splits(self) -> list[str]:
        """Splits that the arm is evaluated on."""
        return self.metadata["test_splits"]

    @property
    def val_split(self) -> str:
        """Split that its thresholds are chosen on."""
        return self.metadata["val_split"]


def read(uri: str, name: str) -> Arm:
    """Reads an arm from its artifact.

    Args:
      uri: URI of the artifact.
      name: name of the arm in the study.

    Raises:
      DamagedArtifactError: a file is missing or has changed.
      ValueError: the files contradict each other or the study.
    """
    rows = arm_predictions.read(uri)
    metadata = _read_json(uri, "arm.json")
    if metadata["arm"] != name:
        raise ValueError(f"{uri} must be of arm {name!r}. Received: {metadata['arm']!r}")
    runs = sorted(_read_json(uri, "replicates.json"), key=lambda row: row[REPLICATE])
    invalid = _invalid_replicates(rows)
    replicates = [_replicate(row, invalid) for row in runs]
    kept = [replicate.number for replicate in replicates if replicate.diverged is None]
    rows = rows[rows[REPLICATE].isin(kept)]
    splits = dict.fromkeys([metadata["val_split"], *metadata["test_splits"]])
    scores = {split: _scores(rows, split, kept, name) for split in splits} if kept else {}
    return Arm(name, metadata, replicates, scores, rows)


def check_same_images(arms: Sequence[Arm]) -> None:
    """Checks that a split has the same images in all arms, as paired comparisons require.

    Raises:
      ValueError: a split has different images or labels in two arms.
    """
    seen: dict[str, tuple[str, SplitScores]] = {}
    for arm in arms:
        for split, found in arm.scores.items():
            first, expected = seen.setdefault(split, (arm.name, found))
            same = np.array_equal(expected.image_ids, found.image_ids)
            if not same or not np.array_equal(expected.labels, found.labels):
                raise ValueError(
                    f"split {split!r} must have the same images and labels in all arms; train all "
                    f"of them from the same sampled examples. Received: {found.labels.size} images "
                    f"in arm {arm.name!r}, {expected.labels.size} in arm {first!r}"
                )


def class_counts(arms: Sequence[Arm]) -> Mapping[tuple[str, int], int]:
    """Counts the images of each (class, label) over all splits."""
    counts: dict[tuple[str, int], int] = {}
    seen: set[str] = set()
    for arm in arms:
        for split, found in arm.scores.items():
            if split in seen:
                continue
            seen.add(split)
            for key in zip(found.class_names.tolist(), found.labels.tolist(), strict=True):
                counts[key] = counts.get(key, 0) + 1
    return counts


def _replicate(row: Mapping[str, Any], invalid: set[int]) -> Replicate:
    number, diverged = row[REPLICATE], None
    if row["status"] != TRAINED:
        diverged = row.get("detail") or row["status"]
    elif number in invalid:
        diverged = _INVALID
    return Replicate(number, row["random_state"], diverged, row["epochs"])


def _invalid_replicates(rows: pd.DataFrame) -> set[int]:
    probabilities = rows[names.PROBABILITY]
    # Negated, since this also finds NaN, which is not between any bounds.
    return set(rows.loc[~probabilities.between(0, 1), REPLICATE])


def _scores(rows: pd.DataFrame, split: str, kept: list[int], arm: str) -> SplitScores:
    found = rows[rows[SPLIT] == split].sort_values([REPLICATE, names.IMAGE_ID], kind="stable")
    counts = found.groupby(REPLICATE).size().reindex(kept, fill_value=0)
    images = int(counts.max())
    if images == 0 or counts.nunique() > 1:
        raise ValueError(
            f"the predictions of arm {arm!r} must contain the same images of split {split!r} for "
            f"each trained replicate. Received: number of images by replicate {counts.to_dict()}"
        )
    ids = found[names.IMAGE_ID].to_numpy().reshape(len(kept), images)
    labels = found[names.LABEL].to_numpy().reshape(len(kept), images)
    if (ids != ids[0]).any() or (labels != labels[0]).any():
        raise ValueError(f"the replicates of arm {arm!r} must have the same images and labels")
    return SplitScores(
        image_ids=ids[0],
        labels=labels[0],
        class_names=found[names.CLASS_NAME].to_numpy()[:images],
        probabilities=found[names.PROBABILITY].to_numpy(np.float32).reshape(len(kept), images),
    )


def _read_json(uri: str, name: str) -> Any:
    with fileio.open(os.path.join(uri, name), "r") as file:
        return json.loads(file.read())
