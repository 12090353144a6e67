"""TFMA's configuration: metrics at the operating point, overall and by slice.

Each metric is computed twice: of the images as they are, and with the weights of the real world's
prevalence, under a name that ends in `_at_prevalence`. The curves that TFMA's viewer draws are at
prevalence.
"""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The top-level package has no EvalConfig in TFMA 0.52.
from tensorflow_model_analysis.proto import config_pb2

from components import names

EXAMPLES = "examples"
"""TFMA's count of the images in a slice."""

AT_PREVALENCE = "_at_prevalence"
"""End of the name of a metric with the weights of the real world's prevalence."""

# TFMA's viewer sorts and filters slices by the metric of this name.
_WEIGHTED_EXAMPLES = "weighted_example_count"
# Of the curves in TFMA's viewer; each slice stores a confusion matrix per threshold.
_THRESHOLDS_OF_CURVES = 200
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
    bound = exclusive(threshold)
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                label_key=names.LABEL,
                prediction_key=names.PROBABILITY,
                example_weight_key=names.WEIGHT,
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(feature_keys=group) for group in dict.fromkeys(columns)
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[_metric("ExampleCount", EXAMPLES), *_metrics(bound)],
                example_weights=config_pb2.ExampleWeightOptions(unweighted=True),
            ),
            config_pb2.MetricsSpec(
                metrics=[
                    _metric("ExampleCount", _WEIGHTED_EXAMPLES),
                    *_metrics(bound, AT_PREVALENCE),
                    _curves(),
                ],
                example_weights=config_pb2.ExampleWeightOptions(weighted=True),
            ),
        ],
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


def _metrics(bound: float, suffix: str = "") -> list[config_pb2.MetricConfig]:
    at_point = [
        _metric(kind, name + suffix, thresholds=[bound]) for name, kind in _BY_COUNTS.items()
    ]
    return [
        *at_point,
        _metric("BinaryAccuracy", "accuracy" + suffix, threshold=bound),
        _metric("ConfusionMatrixAtThresholds", "confusion_at_half" + suffix, thresholds=[0.5]),
    ]


def _curves() -> config_pb2.MetricConfig:
    name = "curves" + AT_PREVALENCE
    return _metric("ConfusionMatrixPlot", name, num_thresholds=_THRESHOLDS_OF_CURVES)


def _metric(kind: str, name: str, **settings: float | list[float]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=kind, config=json.dumps({"name": name, **settings}))
