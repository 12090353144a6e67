"""Collects the images of all splits with probabilities from models that did not see them."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from components import example_files, names
from components.reporter import label_doubt, stored_features
from components.reporter.stored_features import StoredFeatures

_NO_FEATURES = (
    "the model was trained on these images, and without a frozen backbone only a second training "
    "could give probabilities from a model that was not"
)
_TOO_FEW = "fewer than two images of a side"


class Candidates(NamedTuple):
    """Images whose labels may be wrong.

    Attributes:
      images: one row per image, see `label_doubt.COLUMNS`.
      left_out: by split, why none or only some of its images are among them.
    """

    images: pd.DataFrame
    left_out: dict[str, str]


def collect(
    val: pd.DataFrame, test: pd.DataFrame, featured_uri: str | None, *, prevalence: float
) -> Candidates:
    """Collects the images of the splits train, val and test.

    No model was trained on the images of val and test, so the probabilities are those of the
    evaluated model. Those of train are of regressions on the features of other images.

    Args:
      val: the Calibrator's predictions.
      test: the Evaluator's predictions, with the name of the split.
      featured_uri: URI of the FeatureExtractor's examples of train and val; None without a frozen
        backbone.
      prevalence: share of positives in the real world.
    """
    predicted = pd.concat([val, test], ignore_index=True)
    if featured_uri is None:
        images = predicted.assign(**{label_doubt.TYPICALITY: np.nan})
        return Candidates(images[label_doubt.COLUMNS], {names.TRAIN: _NO_FEATURES})
    features = {split: _read(featured_uri, split) for split in (names.TRAIN, names.VAL)}
    train = _out_of_fold(features[names.TRAIN], prevalence)
    known = predicted if train is None else pd.concat([train, predicted], ignore_index=True)
    images = known.merge(_typicality(features), on=names.IMAGE_ID, how="left")
    return Candidates(images[label_doubt.COLUMNS], _left_out(features, train))


def _read(uri: str, split: str) -> StoredFeatures:
    return stored_features.read(example_files.split_shards(uri, split))


def _out_of_fold(train: StoredFeatures, prevalence: float) -> pd.DataFrame | None:
    labels = train.images[names.LABEL].to_numpy()
    found = label_doubt.out_of_fold(train.values, labels, prevalence=prevalence)
    if found is None:
        return None
    columns = {names.SPLIT: names.TRAIN, names.PROBABILITY: found.astype(np.float32)}
    return train.images.assign(**columns)


def _typicality(features: dict[str, StoredFeatures]) -> pd.DataFrame:
    ids = pd.concat([found.images[names.IMAGE_ID] for found in features.values()])
    values = np.concatenate([found.values for found in features.values()])
    return pd.DataFrame(
        {names.IMAGE_ID: ids, label_doubt.TYPICALITY: label_doubt.typicality(values)}
    )


def _left_out(features: dict[str, StoredFeatures], train: pd.DataFrame | None) -> dict[str, str]:
    reasons = {
        split: f"only {len(found.images):,} of its {found.total:,} images, drawn at random, were "
        "compared with others"
        for split, found in features.items()
        if len(found.images) < found.total
    }
    return reasons if train is not None else {**reasons, names.TRAIN: _TOO_FEW}
