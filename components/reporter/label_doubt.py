"""Ranks images by how much the model doubts their labels, of which there are two kinds.

An image may look like the other side: this ranking is that of confident learning. The lower the
probability of the label that an image has, compared with the mean of this probability over the
images of the same label, the more the label is doubted. Every probability must be out of sample,
from a model that was not trained on the image, as a model agrees with the wrong labels that it was
trained on.

Or it may look like neither side, such as a drawing or a photograph of a person. A model that knows
only two sides is often certain of the wrong one, or even of the right one. So where the features of
a frozen backbone exist, images are also ranked by their distance to the images that they resemble
most. The list takes turns between the two rankings.

Sources: C. Northcutt, L. Jiang, I. Chuang, Confident Learning: Estimating Uncertainty in Dataset
Labels, JAIR 70 (2021), as implemented by cleanlab; J. Kuan, J. Mueller, Back to the Basics:
Revisiting Out-of-Distribution Detection Baselines, ICML 2022 workshop on Principles of Distribution
Shift, for the distance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from components import names
from components.trainer.settings import POOLED_HEAD_C

TYPICALITY = "typicality"
LABEL_QUALITY = "label_quality"
REASON = "reason"
COLUMNS = [
    names.IMAGE_ID,
    names.URI,
    names.SPLIT,
    names.CLASS_NAME,
    names.LABEL,
    names.PROBABILITY,
    TYPICALITY,
]
"""Columns of the images to rank."""

_FOLDS = 5
_NEIGHBORS = 10
_LISTED = 100
_TINY = np.finfo(np.float64).tiny


def out_of_fold(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, prevalence: float
) -> NDArray[np.float64] | None:
    """Returns the probability of each image by logistic regression on the images of other folds.

    The regression has the penalty of the pooled head. Its probabilities are moved from the balance
    of the images to the prevalence.

    Args:
      features: (n, d), one row per image; the folds are consecutive rows of each label, so the
        order must not depend on anything but the images.
      labels: (n,), 1 for the positive class and 0 for all others.
      prevalence: share of positives in the real world.

    Returns:
      (n,), or None with fewer than two images of a side, which can't be divided into folds.
    """
    # Imported here, since they take a second that other steps don't need.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    positives = int(labels.sum())
    folds = min(_FOLDS, positives, len(labels) - positives)
    if folds < 2:
        return None
    log_odds = cross_val_predict(
        LogisticRegression(C=POOLED_HEAD_C, max_iter=1000),
        features,
        labels,
        cv=StratifiedKFold(folds),
        method="decision_function",
    )
    return _moved(expit(log_odds), positives / len(labels), to=prevalence)


def typicality(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns how much each image resembles others, from 0, for not at all, to 1.

    It is exp(-d / median of all d), where d is the mean cosine distance to the nearest ten images:
    the same as that of cleanlab's `OutOfDistribution`, in half the time.

    Args:
      features: (n, d), one row per image; n is at least 2.
    """
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(metric="cosine", algorithm="brute").fit(features)
    distances, _ = nearest.kneighbors(n_neighbors=min(_NEIGHBORS, len(features) - 1))
    means = distances.mean(axis=1, dtype=np.float64)
    return np.exp(-means / max(float(np.median(means)), _TINY))


def rank(images: pd.DataFrame, *, prevalence: float) -> pd.DataFrame:
    """Returns the images, the most doubted label first.

    The probabilities are compared at the share of positives among the images' labels. At a much
    lower prevalence nearly all positives would look doubtful.

    Args:
      images: the columns `COLUMNS`, with images of both sides; probabilities are out of sample, and
        `typicality` is NaN where it is not known.
      prevalence: share of positives at which the probabilities hold.

    Returns:
      The same rows with two more columns: `label_quality`, from 0, for a label that is most
      doubted, to 1; and `reason`, the kind of doubt: `contradicted` by the probability, or
      `atypical`.
    """
    from cleanlab.rank import get_label_quality_scores

    # Sorted first, since sums of floats depend on the order.
    images = images.sort_values(names.IMAGE_ID)
    labels = images[names.LABEL].to_numpy()
    probabilities = _moved(images[names.PROBABILITY].to_numpy(), prevalence, to=labels.mean())
    quality = get_label_quality_scores(
        labels,
        np.stack([1 - probabilities, probabilities], axis=1),
        method="self_confidence",
        # Otherwise most images at the top would be those of the rare class.
        adjust_pred_probs=True,
    )
    rows = images.assign(**{LABEL_QUALITY: quality})
    places = rows[[LABEL_QUALITY, TYPICALITY]].rank(method="first", na_option="bottom")
    is_contradicted = (places[LABEL_QUALITY] <= places[TYPICALITY]) | rows[TYPICALITY].isna()
    first = np.where(is_contradicted, places[LABEL_QUALITY], places[TYPICALITY])
    order = np.lexsort((~is_contradicted, first))
    kinds = np.where(is_contradicted, "contradicted", "atypical")
    return rows.assign(**{REASON: kinds}).iloc[order].reset_index(drop=True)


def _moved(probabilities: NDArray[np.float32], prevalence: float, to: float) -> NDArray[np.float64]:
    """Returns what the probabilities would be at another prevalence, by Bayes' rule."""
    positive = probabilities.astype(np.float64) * to / prevalence
    negative = (1 - probabilities.astype(np.float64)) * (1 - to) / (1 - prevalence)
    return positive / (positive + negative)


def summarize(ranked: pd.DataFrame, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Returns the ranking as plain JSON.

    Args:
      ranked: from `rank`.
      left_out: by split, why its images were not looked at, or not all of them.

    Returns:
      `looked_at`, images by split; `with_features`, those of them that were also compared with
      others; `left_out`; and `images`, the 100 most doubted labels.
    """
    first = ranked.head(_LISTED)[[*COLUMNS, LABEL_QUALITY, REASON]]
    rows = first.astype(object).where(first.notna(), None).to_dict("records")
    return {
        "looked_at": _by_split(ranked),
        "with_features": _by_split(ranked[ranked[TYPICALITY].notna()]),
        "left_out": dict(left_out),
        "images": [{"rank": place, **row} for place, row in enumerate(rows, start=1)],
    }


def _by_split(rows: pd.DataFrame) -> dict[str, int]:
    return {str(split): len(found) for split, found in rows.groupby(names.SPLIT)}
