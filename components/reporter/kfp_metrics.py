"""A report's figures as artifacts that the run page of Kubeflow Pipelines draws.

The page reads them from the artifacts' metadata, as `kfp.dsl.Metrics` and
`kfp.dsl.ClassificationMetrics` write it. The artifacts have no files.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from components import names
from components.evaluator.metrics import RocCurve, roc_curve
from components.reporter.files import METRICS_FILE, PREDICTIONS_FILE

METRICS = "metrics"
CLASSIFICATION_METRICS = "classification_metrics"
TYPES = {METRICS: "system.Metrics", CLASSIFICATION_METRICS: "system.ClassificationMetrics"}
"""The artifacts' types in Kubeflow Pipelines, by output."""

ROC_POINTS = 200
"""The largest number of points of a curve, which the backend keeps in one row of its database."""

_AT_SPLIT = ("recall", "precision", "f1", "pr_auc", "auc", "threshold")
_AT_PREVALENCE = ("prevalence", "recall", "precision", "f1", "pr_auc", "alerts_per_thousand")
# JSON has no infinity. No probability reaches it.
_ABOVE_ALL = 2.0


def read(folder: str) -> dict[str, dict[str, Any]]:
    """Returns the metadata of both artifacts, by output.

    Args:
      folder: the local folder of a report.
    """
    report = json.loads(Path(folder, METRICS_FILE).read_text(encoding="utf-8"))
    rows = pq.ParquetFile(Path(folder, PREDICTIONS_FILE)).read([names.LABEL, names.PROBABILITY])
    return {
        METRICS: headline(report),
        CLASSIFICATION_METRICS: classification(
            report, rows[names.LABEL].to_numpy(), rows[names.PROBABILITY].to_numpy()
        ),
    }


def headline(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metadata of the `Metrics` artifact.

    The names are those that `components.tracking` uses: `recall`, `at_prevalence.recall`,
    `test.images` …; and `blessed`, 1 or 0. Undefined figures are left out.

    Args:
      report: content of `metrics.json`.
    """
    split = report["split"]
    figures = {
        "blessed": int(report["blessed"]),
        **{name: report["metrics"][name] for name in _AT_SPLIT},
        **{f"at_prevalence.{name}": report["at_prevalence"][name] for name in _AT_PREVALENCE},
        f"{split}.images": report["examples"],
        f"{split}.positives": report["positives"],
    }
    # The backend refuses a step with a metric that is not a number.
    return {name: value for name, value in figures.items() if value is not None}


def classification(
    report: Mapping[str, Any], labels: ArrayLike, probabilities: ArrayLike
) -> dict[str, Any]:
    """Returns the metadata of the `ClassificationMetrics` artifact.

    Args:
      report: content of `metrics.json`.
      labels: (n,), 1 for the positive class and 0 for all others; both occur.
      probabilities: float32 (n,), of the positive class.

    Returns:
      `confusionMatrix`, at the operating point, one row per true class; and `confidenceMetrics`,
      up to `ROC_POINTS` points of the ROC curve, from the highest threshold to the lowest.
    """
    return {
        "confusionMatrix": _confusion_matrix(report),
        "confidenceMetrics": list(_points(thinned(roc_curve(labels, probabilities)))),
    }


def _confusion_matrix(report: Mapping[str, Any]) -> dict[str, Any]:
    positive_class, counts = report["positive_class"], report["metrics"]
    classes = (positive_class, f"not {positive_class}")
    rows = ([counts["tp"], counts["fn"]], [counts["fp"], counts["tn"]])
    return {
        "annotationSpecs": [{"displayName": name} for name in classes],
        "rows": [{"row": row} for row in rows],
    }


def thinned(curve: RocCurve) -> RocCurve:
    """Returns a curve with at most `ROC_POINTS` of its points, spread evenly along it.

    Both ends are among them. The page draws a smooth line, which is only close to the curve if
    the points are not far apart.
    """
    way = curve.false_positive_rate + curve.recall
    if way.size <= ROC_POINTS:
        return curve
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], ROC_POINTS)))
    return RocCurve(*(values[kept] for values in curve))


def _points(curve: RocCurve) -> Iterator[dict[str, float]]:
    for rate, recall, threshold in zip(*(values.tolist() for values in curve), strict=True):
        yield {
            "confidenceThreshold": threshold if math.isfinite(threshold) else _ABOVE_ALL,
            "recall": recall,
            "falsePositiveRate": rate,
        }
