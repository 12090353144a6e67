"""What the statistics of a data set count of each value."""

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

# As TFX's StatisticsGen names it; its constant lies behind an import of TFDV.
_FILE = "FeatureStats.pb"


def statistics_path(uri: str) -> str:
    """The file with the statistics of all images in an ExampleStatistics artifact."""
    return os.path.join(example_files.split_dir(uri, names.ALL), _FILE)


def read_statistics(path: str) -> Statistics:
    """The statistics in a file."""
    with fileio.open(path, "rb") as file:
        return Statistics.FromString(file.read())


def images(statistics: Statistics) -> int:
    """How many images the statistics are of."""
    return statistics.datasets[0].num_examples


def features(statistics: Statistics) -> Mapping[str, FeatureNameStatistics]:
    """The statistics of each feature by its name."""
    return {".".join(found.path.step): found for found in statistics.datasets[0].features}


def counts(statistics: Statistics, feature: str) -> dict[str, int]:
    """How many images have each value of a column of texts, or each label.

    Args:
      statistics: of one data set.
      feature: name of the feature.

    Returns:
      The counts by value, the most frequent first; empty where there is no such feature, or
      where it has more values than TFDV counts (`num_rank_histogram_buckets`).
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
