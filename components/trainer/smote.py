"""New rows of the smaller side between the features of its images: SMOTE, by imbalanced-learn.

A new row lies at a random place between the features of an image and those of one of its nearest
neighbours of the same side. `borderline_smote` takes only images as the first whose nearest
neighbours are mostly, but not all, of the other side. Between the pixels of two photographs there
is no third photograph, so both require features.

Sources: N. Chawla et al., SMOTE: Synthetic Minority Over-sampling Technique, JAIR 16 (2002);
H. Han, W. Wang, B. Mao, Borderline-SMOTE, ICIC 2005 (its first kind); G. Lemaitre, F. Nogueira,
C. Aridas, Imbalanced-learn, JMLR 18 (2017).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.trainer import methods
from components.trainer.features import Rows
from components.trainer.methods import BORDERLINE_SMOTE, Smote
from components.trainer.settings import Strategy

if TYPE_CHECKING:
    from imblearn.over_sampling.base import BaseOverSampler


@dataclass(frozen=True)
class EnlargedRows:
    """Rows of several trainings, which share those of the images.

    Attributes:
      rows: those of the images, then the new ones of each training.
      members: int64 by training, the rows that it is trained on.
    """

    rows: Rows
    members: list[np.ndarray]


def enlarged(rows: Rows, strategy: Strategy, seeds: Sequence[int]) -> EnlargedRows:
    """Returns rows with new ones for each training; with another strategy, the rows themselves.

    Args:
      rows: features of the images of the train split.
      strategy: the sampling strategy.
      seeds: the seed of each training.

    Raises:
      ValueError: as `new_rows`.
    """
    images = np.arange(len(rows.labels))
    smote = methods.smote_of(strategy)
    if smote is None:
        return EnlargedRows(rows, [images] * len(seeds))
    new = [new_rows(rows, smote, random_state=seed) for seed in seeds]
    starts = len(images) + np.cumsum([0, *(len(each.labels) for each in new)])
    members = [
        np.concatenate([images, np.arange(*bounds)]) for bounds in itertools.pairwise(starts)
    ]
    values = np.concatenate([rows.values, *(each.values for each in new)])
    labels = np.concatenate([rows.labels, *(each.labels for each in new)])
    return EnlargedRows(Rows(values, labels), members)


def new_rows(rows: Rows, smote: Smote, *, random_state: int) -> Rows:
    """Returns the new rows of one training; none if the sides already have the ratio.

    Args:
      rows: features of the images of the train split.
      smote: the settings.
      random_state: the seed.

    Raises:
      ValueError: the smaller side has too few images for `k_neighbors`, or no image at the border.
    """
    counts = np.bincount(rows.labels, minlength=2)
    sizes = methods.smote_sizes(counts.tolist(), smote)
    wanted = sum(sizes) - len(rows.labels)
    if not wanted:
        return Rows(rows.values[:0], rows.labels[:0])
    sampler = _sampler(smote, int(counts.min()), random_state)
    flat = np.asarray(rows.values, np.float32).reshape(len(rows.labels), -1)
    values, labels = sampler.fit_resample(flat, rows.labels)
    # The images themselves come first.
    values, labels = values[len(flat) :], labels[len(flat) :]
    if len(labels) != wanted:
        raise ValueError(
            f"trainer.sampling_strategy {smote.kind!r} found no image at the border: the "
            f"{smote.m_neighbors} nearest neighbours (m_neighbors) of each of the {counts.min()} "
            "images of the smaller side are all, or mostly not, of the other side; choose 'smote'. "
            f"Received: {smote.kind!r}"
        )
    shaped = values.reshape(-1, *rows.values.shape[1:])
    return Rows(shaped.astype(rows.values.dtype), labels.astype(rows.labels.dtype))


def _sampler(smote: Smote, images: int, random_state: int) -> "BaseOverSampler":
    # Imported here, since it imports much of scikit-learn.
    from imblearn.over_sampling import SMOTE, BorderlineSMOTE

    options = {
        "sampling_strategy": smote.ratio,
        "random_state": random_state,
        "k_neighbors": methods.neighbors(smote, images),
    }
    if smote.kind == BORDERLINE_SMOTE:
        return BorderlineSMOTE(**options, m_neighbors=smote.m_neighbors)
    return SMOTE(**options)
