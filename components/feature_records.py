"""The features of an image in its tf.Example, and the key of what they depend on.

A FeatureExtractor writes `features.json` with the key beside its splits, and the Calibrator the
same file among the assets of a model that can also be given such features. Equal keys mean that the
model's own backbone computes these features, see `backbone.Backbone.key`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components import names

if TYPE_CHECKING:
    import tensorflow as tf

KEY_FILE = "features.json"
_ASSETS = "assets"
_KEY = "key"

EXACT = "float32"
"""Type of features that a network maps to the same scores as the image itself."""


def add(
    example: "tf.train.Example", values: np.ndarray, *, views: np.ndarray | None = None
) -> None:
    """Replaces the image of an example by its features.

    Args:
      example: the example.
      values: float16 or float32 of any shape.
      views: the features of each view, (views, *shape), of the same type; None: they are not kept.
    """
    features = example.features.feature
    del features[names.IMAGE]
    features[names.FEATURES].bytes_list.value.append(values.tobytes())
    features[names.FEATURES_SHAPE].int64_list.value.extend(values.shape)
    features[names.FEATURES_TYPE].bytes_list.value.append(values.dtype.name.encode())
    if views is not None:
        features[names.VIEW_FEATURES].bytes_list.value.append(views.tobytes())


def spec() -> dict[str, "tf.io.FixedLenFeature | tf.io.RaggedFeature"]:
    """Returns the columns by which `tf.io.parse_example` reads what `decoded` requires."""
    import tensorflow as tf

    return {
        names.FEATURES: tf.io.FixedLenFeature([], tf.string),
        names.FEATURES_SHAPE: tf.io.RaggedFeature(tf.int64),
        names.FEATURES_TYPE: tf.io.FixedLenFeature([], tf.string, "float16"),
    }


def decoded(columns: Mapping[str, "tf.Tensor"]) -> NDArray[np.floating]:
    """Returns the features of a batch of at least one image, (n, ...), in their own type.

    Args:
      columns: as parsed with `spec`; all images have features of one shape and type.
    """
    shape = columns[names.FEATURES_SHAPE][0].numpy()
    dtype = columns[names.FEATURES_TYPE][0].numpy().decode()
    whole = b"".join(columns[names.FEATURES].numpy())
    return np.frombuffer(whole, dtype).reshape(-1, *shape)


def key_text(key: str) -> str:
    """Returns the content of the file with a key."""
    return json.dumps({_KEY: key}) + "\n"


def key_of_examples(uri: str) -> str:
    """Returns the key of the features of an Examples artifact; empty if it has none."""
    return _read(os.path.join(uri, KEY_FILE))


def key_of_model(serving_dir: str) -> str:
    """Returns the key of the features that a model can be given; empty if it needs images."""
    return _read(os.path.join(serving_dir, _ASSETS, KEY_FILE))


def _read(path: str) -> str:
    if "://" not in path:
        return _parsed(Path(path).read_text(encoding="utf-8")) if os.path.exists(path) else ""
    from tfx.dsl.io import fileio

    if not fileio.exists(path):
        return ""
    with fileio.open(path, "r") as file:
        return _parsed(file.read())


def _parsed(text: str) -> str:
    return str(json.loads(text)[_KEY])
