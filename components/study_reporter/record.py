"""What an arm of a study left, as plain arrays."""

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

_NOT_FINITE = "gave probabilities that are not numbers from 0 to 1"


@dataclass(frozen=True)
class SplitScores:
    """What an arm's replicates said of the images of a split, by rising image_id.

    Attributes:
      image_ids: str (n,).
      labels: int64 (n,), 1 for the positive class.
      class_names: str (n,).
      probabilities: float32 (r, n), a row a trained replicate.
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
      diverged: why it is left out; None where it is trained.
      epochs: figures by epoch, see `components.trainer.history`.
    """

    number: int
    random_state: int
    diverged: str | None
    epochs: list[dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One way to train, and what its replicates came to.

    Attributes:
      name: unique in the study.
      about: content of `arm.json`.
      replicates: in order of their number.
      scores: by split; empty where no replicate is trained.
      predictions: the rows that the scores come from.
    """

    name: str
    about: dict[str, Any]
    replicates: list[Replicate]
    scores: dict[str, SplitScores]
    predictions: pd.DataFrame

    @property
    def trained(self) -> list[Replicate]:
        """Replicates that count, in the order of the rows of `SplitScores.probabilities`."""
        return [replicate for replicate in self.replicates if replicate.diverged is None]

    @property
    def diverged(self) -> list[Replicate]:
        """Replicates that are left out."""
        return [replicate for replicate in self.replicates if replicate.diverged is not None]

    @property
    def test_splits(self) -> list[str]:
        """Where the arm is judged."""
        return self.about["test_splits"]

    @property
    def val_split(self) -> str:
        """Where its thresholds are chosen."""
        return self.about["val_split"]


def read(uri: str, name: str) -> Arm:
    """Reads an arm from its artifact.

    Args:
      uri: of the artifact.
      name: of the arm, as the study calls it.

    Raises:
      ValueError: the files contradict each other or the study.
    """
    about = _read_json(uri, "arm.json")
    if about["arm"] != name:
        raise ValueError(f"{uri} is of arm {about['arm']!r}, the study has {name!r} in its place")
    listed = sorted(_read_json(uri, "replicates.json"), key=lambda row: row[REPLICATE])
    rows = arm_predictions.read(uri)
    broken = _not_finite(rows)
    replicates = [_replicate(row, broken) for row in listed]
    kept = [replicate.number for replicate in replicates if replicate.diverged is None]
    rows = rows[rows[REPLICATE].isin(kept)]
    wanted = dict.fromkeys([about["val_split"], *about["test_splits"]])
    scores = {split: _scores(rows, split, kept, name) for split in wanted} if kept else {}
    return Arm(name, about, replicates, scores, rows)


def check_same_images(arms: Sequence[Arm]) -> None:
    """Paired comparisons need the same images under the same split name.

    Raises:
      ValueError: two arms disagree on a split.
    """
    seen: dict[str, tuple[str, SplitScores]] = {}
    for arm in arms:
        for split, found in arm.scores.items():
            first, expected = seen.setdefault(split, (arm.name, found))
            same = np.array_equal(expected.image_ids, found.image_ids)
            if not same or not np.array_equal(expected.labels, found.labels):
                raise ValueError(
                    f"split {split!r} has {found.labels.size} images in arm {arm.name!r} that are "
                    f"not the {expected.labels.size} of arm {first!r}; train both arms from the "
                    "same sampled examples"
                )


def class_counts(arms: Sequence[Arm]) -> Mapping[tuple[str, int], int]:
    """How often each (class, label) occurs, over all splits."""
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


def _replicate(row: Mapping[str, Any], broken: set[int]) -> Replicate:
    number, diverged = row[REPLICATE], None
    if row["status"] != TRAINED:
        diverged = row.get("detail") or row["status"]
    elif number in broken:
        diverged = _NOT_FINITE
    return Replicate(number, row["random_state"], diverged, row["epochs"])


def _not_finite(rows: pd.DataFrame) -> set[int]:
    probabilities = rows[names.PROBABILITY]
    # Written so that NaN, which is not within anything, is caught too.
    return set(rows.loc[~probabilities.between(0, 1), REPLICATE])


def _scores(rows: pd.DataFrame, split: str, kept: list[int], arm: str) -> SplitScores:
    found = rows[rows[SPLIT] == split].sort_values([REPLICATE, names.IMAGE_ID], kind="stable")
    counts = found.groupby(REPLICATE).size().reindex(kept, fill_value=0)
    images = int(counts.max())
    if images == 0 or counts.nunique() > 1:
        raise ValueError(
            f"the predictions of arm {arm!r} must hold the same images of split {split!r} for "
            f"each trained replicate; by replicate there are {counts.to_dict()}"
        )
    ids = found[names.IMAGE_ID].to_numpy().reshape(len(kept), images)
    labels = found[names.LABEL].to_numpy().reshape(len(kept), images)
    if (ids != ids[0]).any() or (labels != labels[0]).any():
        raise ValueError(f"the replicates of arm {arm!r} were judged on different images")
    return SplitScores(
        image_ids=ids[0],
        labels=labels[0],
        class_names=found[names.CLASS_NAME].to_numpy()[:images],
        probabilities=found[names.PROBABILITY].to_numpy(np.float32).reshape(len(kept), images),
    )


def _read_json(uri: str, name: str) -> Any:
    with fileio.open(os.path.join(uri, name), "r") as file:
        return json.loads(file.read())
