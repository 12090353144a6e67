"""TFMA's configuration: metrics at the operating point, overall and by slice."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The top-level package has no EvalConfig in TFMA 0.52.
from tensorflow_model_analysis.proto import config_pb2

from components import names

EXAMPLES = "examples"
"""TFMA's count of the images in a slice."""

_BY_COUNTS = {
    "tp": "TruePositives",
    "fp": "FalsePositives",
    "tn": "TrueNegatives",
    "fn": "FalseNegatives",
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1Score",
    "specificity": "Specificity",
}


def make(threshold: float, slices: Sequence[Sequence[str]]) -> config_pb2.EvalConfig:
    """Makes the configuration for evaluating existing predictions.

    Args:
      threshold: the operating point, from which an image is positive.
      slices: lists of columns; each list gives one slice per combination of values.
        The whole split and the classes are always included.
    """
    columns = [(), (names.CLASS_NAME,), *(tuple(sorted(set(group))) for group in slices)]
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key=names.LABEL, prediction_key=names.PROBABILITY)],
        slicing_specs=[
            config_pb2.SlicingSpec(feature_keys=group) for group in dict.fromkeys(columns)
        ],
        metrics_specs=[config_pb2.MetricsSpec(metrics=_metrics(exclusive(threshold)))],
    )


def exclusive(threshold: float) -> float:
    """Returns the bound such that a float32 exceeds it if and only if it reaches `threshold`.

    For TFMA, values above a threshold are positive; here the operating point itself is
    positive as well. The bound is never below 0, since a negative threshold has another meaning
    for TFMA; so with threshold 0 the probabilities must be passed through `above_zero`.
    """
    below = np.nextafter(np.float32(threshold), np.float32(-np.inf))
    return max(0.0, float(below))


def above_zero(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the probabilities with 0 replaced by the smallest normal number."""
    return np.maximum(probabilities, np.finfo(np.float32).tiny)


def _metrics(bound: float) -> list[config_pb2.MetricConfig]:
    at_point = [_metric(kind, name, thresholds=[bound]) for name, kind in _BY_COUNTS.items()]
    return [
        _metric("ExampleCount", EXAMPLES),
        *at_point,
        _metric("BinaryAccuracy", "accuracy", threshold=bound),
        _metric("ConfusionMatrixAtThresholds", "confusion_at_half", thresholds=[0.5]),
    ]


def _metric(kind: str, name: str, **settings: float | list[float]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=kind, config=json.dumps({"name": name, **settings}))
