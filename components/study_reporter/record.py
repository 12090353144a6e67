"""Reads the results of a study's arms as plain arrays."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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

    If the splits were drawn several times, it has the images of all draws, and a replicate has
    predictions of those in the split of its own draw.

    Attributes:
      image_ids: str (n,).
      labels: int64 (n,), 1 for the positive class.
      class_names: str (n,).
      probabilities: float32 (r, n), one row per trained replicate; NaN if the image is not in the
        split of its draw.
    """

    image_ids: NDArray
    labels: NDArray[np.int64]
    class_names: NDArray
    probabilities: NDArray[np.float32]

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """Whether an image is in the split of a replicate's draw, (r, n)."""
        return ~np.isnan(self.probabilities)

    @property
    def share(self) -> float:
        """Share of positives in the split, the mean over the replicates' draws."""
        return float(np.mean([labels.mean() for labels, _ in self.by_replicate()]))

    def by_replicate(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yields, for each replicate, the labels and probabilities of its split's images."""
        for row, present in zip(self.probabilities, self.present, strict=True):
            yield self.labels[present], row[present]


@dataclass(frozen=True)
class Replicate:
    """One training of an arm.

    Attributes:
      number: from 0; the same number has the same draw of the splits and seed in every arm.
      random_state: the seed.
      diverged: why it is excluded; None if it is trained.
      epochs: metrics by epoch, see `components.trainer.history`.
      draw: number of the draw of the splits, from 0.
      point: index of the numbers of training images of a learning curve; 0 for other arms.
      iterations: of the solver; None if the training was in epochs.
    """

    number: int
    random_state: int
    diverged: str | None
    epochs: list[dict[str, Any]]
    draw: int = 0
    point: int = 0
    iterations: int | None = None


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
    def draws(self) -> NDArray[np.int64]:
        """The draw of each trained replicate."""
        return np.array([replicate.draw for replicate in self.trained], np.int64)

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
    kept = {each.number: each.draw for each in replicates if each.diverged is None}
    rows = rows[rows[REPLICATE].isin(kept)]
    splits = dict.fromkeys([metadata["val_split"], *metadata["test_splits"]])
    scores = {split: _scores(rows, split, kept, name) for split in splits} if kept else {}
    return Arm(name, metadata, replicates, scores, rows)


def aligned(arms: Sequence[Arm]) -> list[Arm]:
    """Returns the arms with the same images in each split, as paired comparisons require.

    An arm may lack a draw in which all of its replicates diverged.

    Raises:
      ValueError: a split has different images or labels in a draw of two arms.
    """
    check_same_images(arms)
    by_split: dict[str, list[SplitScores]] = {}
    for arm in arms:
        for split, found in arm.scores.items():
            by_split.setdefault(split, []).append(found)
    alike = {
        split: all(np.array_equal(found[0].image_ids, other.image_ids) for other in found)
        for split, found in by_split.items()
    }
    merged = {split: _merged(found) for split, found in by_split.items() if not alike[split]}
    return [
        replace(
            arm,
            scores={
                split: _spread(found, merged[split]) if split in merged else found
                for split, found in arm.scores.items()
            },
        )
        for arm in arms
    ]


def _merged(scores: Sequence[SplitScores]) -> SplitScores:
    """Returns the images of all arms in a split, without predictions."""
    ids, first = np.unique(np.concatenate([each.image_ids for each in scores]), return_index=True)
    labels, names = (
        np.concatenate([getattr(each, key) for each in scores])[first]
        for key in ("labels", "class_names")
    )
    return SplitScores(ids, labels, names, np.empty((0, len(ids)), np.float32))


def _spread(scores: SplitScores, onto: SplitScores) -> SplitScores:
    probabilities = np.full((len(scores.probabilities), len(onto.image_ids)), np.nan, np.float32)
    probabilities[:, np.searchsorted(onto.image_ids, scores.image_ids)] = scores.probabilities
    return replace(onto, probabilities=probabilities)


def check_same_images(arms: Sequence[Arm]) -> None:
    """Checks that a split has the same images in all arms, in each draw.

    Raises:
      ValueError: a split has different images or labels in a draw of two arms.
    """
    seen: dict[tuple[str, int], tuple[str, NDArray, NDArray[np.int64]]] = {}
    for arm in arms:
        for split, found in arm.scores.items():
            draws, first_rows = np.unique(arm.draws, return_index=True)
            for draw, row in zip(draws.tolist(), first_rows, strict=True):
                present = found.present[row]
                ids, labels = found.image_ids[present], found.labels[present]
                first, *expected = seen.setdefault((split, draw), (arm.name, ids, labels))
                if not all(map(np.array_equal, expected, (ids, labels))):
                    in_draw = f" of draw {draw + 1}" if len(draws) > 1 else ""
                    raise ValueError(
                        f"split {split!r}{in_draw} must have the same images and labels in all "
                        "arms; train all of them from the same sampled examples. Received: "
                        f"{labels.size} images in arm {arm.name!r}, {expected[0].size} in arm "
                        f"{first!r}"
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
    return Replicate(
        number,
        row["random_state"],
        diverged,
        row["epochs"],
        draw=row.get("draw", 0),
        point=row.get("point", 0),
        iterations=(row.get("solver") or {}).get("iterations"),
    )


def _invalid_replicates(rows: pd.DataFrame) -> set[int]:
    probabilities = rows[names.PROBABILITY]
    # Negated, since this also finds NaN, which is not between any bounds.
    return set(rows.loc[~probabilities.between(0, 1), REPLICATE])


def _scores(rows: pd.DataFrame, split: str, kept: Mapping[int, int], arm: str) -> SplitScores:
    """Returns the predictions on a split.

    Args:
      rows: all predictions of the trained replicates.
      split: the split.
      kept: the draw of each trained replicate, by its number.
      arm: name of the arm, for errors.
    """
    found = rows[rows[SPLIT] == split]
    counts = found.groupby(REPLICATE).size().reindex(list(kept), fill_value=0)
    of_draw = counts.groupby(kept)
    if counts.min() == 0 or (of_draw.nunique() > 1).any():
        raise ValueError(
            f"the predictions of arm {arm!r} must contain the same images of split {split!r} for "
            f"each trained replicate. Received: number of images by replicate {counts.to_dict()}"
        )
    ids, first, positions = np.unique(
        found[names.IMAGE_ID].to_numpy(), return_index=True, return_inverse=True
    )
    labels = found[names.LABEL].to_numpy()[first]
    number = pd.Index(list(kept)).get_indexer(found[REPLICATE])
    probabilities = np.full((len(kept), len(ids)), np.nan, np.float32)
    probabilities[number, positions] = found[names.PROBABILITY].to_numpy(np.float32)
    scores = SplitScores(
        image_ids=ids,
        labels=labels,
        class_names=found[names.CLASS_NAME].to_numpy()[first],
        probabilities=probabilities,
    )
    draws = np.array(list(kept.values()))
    same = all(
        (scores.present[draws == draw] == scores.present[draws == draw][0]).all()
        for draw in np.unique(draws)
    )
    if not same or (labels[positions] != found[names.LABEL].to_numpy()).any():
        raise ValueError(f"the replicates of arm {arm!r} must have the same images and labels")
    return scores


def _read_json(uri: str, name: str) -> Any:
    with fileio.open(os.path.join(uri, name), "r") as file:
        return json.loads(file.read())
