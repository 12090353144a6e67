"""Reads value counts from the statistics of a data set."""

import os
from collections.abc import Mapping

from tensorflow_metadata.proto.v0.statistics_pb2 import (
    DatasetFeatureStatisticsList as Statistics,
)
from tensorflow_metadata.proto.v0.statistics_pb2 import (
    FeatureNameStatistics,
    NumericStatistics,
)
from tfx.dsl.io import fileio

from components import example_files, names

# The name that TFX's StatisticsGen uses; its constant can't be imported without TFDV.
_FILE = "FeatureStats.pb"


def statistics_path(uri: str) -> str:
    """Returns the path of the statistics of all images in an ExampleStatistics artifact."""
    return os.path.join(example_files.split_dir(uri, names.ALL), _FILE)


def read_statistics(path: str) -> Statistics:
    """Reads the statistics in a file."""
    with fileio.open(path, "rb") as file:
        return Statistics.FromString(file.read())


def images(statistics: Statistics) -> int:
    """Returns the number of images."""
    return statistics.datasets[0].num_examples


def features(statistics: Statistics) -> Mapping[str, FeatureNameStatistics]:
    """Returns the statistics of each feature by name."""
    return {".".join(found.path.step): found for found in statistics.datasets[0].features}


def counts(statistics: Statistics, feature: str) -> dict[str, int]:
    """Returns how many images have each value of a text column, or each label.

    Args:
      statistics: statistics of one data set.
      feature: name of the feature.

    Returns:
      The counts by value, the most frequent first; empty if the feature does not exist, or
      has more values than TFDV counts (`num_rank_histogram_buckets`).
    """
    found = features(statistics).get(feature)
    if found is None:
        return {}
    if feature == names.LABEL:
        return _label_counts(found.num_stats)
    texts = found.string_stats
    counted = {bucket.label: round(bucket.sample_count) for bucket in texts.rank_histogram.buckets}
    return counted if sum(counted.values()) == texts.common_stats.tot_num_values else {}


def _label_counts(label: NumericStatistics) -> dict[str, int]:
    images = label.common_stats.num_non_missing
    negatives = label.num_zeros
    sides = {names.NEGATIVE_LABEL: negatives, names.POSITIVE_LABEL: images - negatives}
    return {str(value): count for value, count in sides.items() if count}
