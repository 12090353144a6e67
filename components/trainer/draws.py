"""The images of an arm's splits, in each draw of the splits.

If the splits are drawn once, each is a split of the examples. If they are drawn several times, the
examples have one split with all images, and a draw's splits are rows of it: neither images nor
features are copied for a draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from components.trainer.data import Split

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The images of a split in one draw.

    Attributes:
      name: name of the split.
      source: the split of the examples that has these images.
      rows: int64 (n,), their rows in `source`; None for all.
    """

    name: str
    source: Split
    rows: Rows | None = None

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """1 for the positive class, (n,)."""
        return self._of(self.source.labels)

    @property
    def image_ids(self) -> np.ndarray:
        """The images' identities, bytes (n,)."""
        return self._of(self.source.image_ids)

    @property
    def class_names(self) -> np.ndarray:
        """The classes as the user named them, bytes (n,)."""
        return self._of(self.source.class_names)

    @property
    def positives(self) -> int:
        """Number of images of the positive class."""
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        """Number of images of all other classes."""
        return len(self.labels) - self.positives

    def _of(self, column: np.ndarray) -> np.ndarray:
        return column if self.rows is None else column[self.rows]


@dataclass(frozen=True)
class DrawnSplits:
    """An arm's splits in one draw: the one to train on, and those to evaluate on."""

    train: Part
    evaluated: Mapping[str, Part]

    @property
    def all(self) -> list[Part]:
        """Every split, train first."""
        return [self.train, *self.evaluated.values()]


def parts_of(draw: int, split: str, source: Split, rows: Mapping[str, Rows]) -> Part:
    """Returns a split of a draw.

    Args:
      draw: number of the draw.
      split: name of the split.
      source: all images.
      rows: the draw's rows by split.

    Raises:
      ValueError: the draw has no such split, or the split no positive or no negative image.
    """
    if split not in rows:
        raise ValueError(
            f"draw {draw + 1} must have split {split!r}. Received: the splits {sorted(rows)}"
        )
    part = Part(split, source, rows[split])
    if not part.positives or not part.negatives:
        raise ValueError(
            f"split {split!r} of draw {draw + 1} must have positive and negative images; raise its "
            f"counts in sampler.splits. Received: {part.positives} positive, "
            f"{part.negatives} negative"
        )
    return part


def subset(part: Part, *, positives: int | None, negatives: int | None, random_state: int) -> Part:
    """Returns a random part of a split; those of larger numbers contain those of smaller ones.

    The order in which images are added depends on the seed and on the images' identities alone.

    Args:
      part: the split.
      positives: number of its positives to keep; None for all.
      negatives: number of its other images to keep; None for all.
      random_state: the seed.

    Raises:
      ValueError: the split has fewer.
    """
    labels, kept = part.labels, []
    for label, name, count in ((1, "positives", positives), (0, "negatives", negatives)):
        members = np.flatnonzero(labels == label)
        if count is not None and count > len(members):
            raise ValueError(
                f"the curve asks for {count:,} {name}, {count - len(members):,} more than the "
                f"{len(members):,} of split {part.name!r}; lower curve.{name} or raise the split's "
                "count in sampler.splits"
            )
        order = np.argsort(part.image_ids[members].astype(bytes), kind="stable")
        shuffled = np.random.default_rng([random_state, label]).permutation(members[order])
        kept.append(shuffled[:count])
    chosen = np.sort(np.concatenate(kept))
    return Part(part.name, part.source, chosen if part.rows is None else part.rows[chosen])


def overlap(draws: Sequence[Part]) -> dict[str, float]:
    """Returns the mean share of a split's images that another draw has in the same split.

    Args:
      draws: the same split in each of several draws.

    Returns:
      `positives` and `negatives`: the share by side, 0 to 1.
    """
    found = {}
    for label, name in ((1, "positives"), (0, "negatives")):
        members = [_own_rows(part)[part.labels == label] for part in draws]
        counts = np.bincount(np.concatenate(members))
        size = float(np.mean([len(rows) for rows in members]))
        pairs = float((counts * (counts - 1.0)).sum())
        found[name] = pairs / (len(draws) * (len(draws) - 1) * size)
    return found


def _own_rows(part: Part) -> Rows:
    return np.arange(len(part.source.labels)) if part.rows is None else part.rows
