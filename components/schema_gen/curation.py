"""Infers a schema from the first data, which users can read, edit and check later data with."""

from collections.abc import Iterable

# TFX before TFDV: importing TFDV first fails in tfx_bsl.
import tfx.types  # noqa: F401 - see above  isort: skip
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from components import names
from components.schema_gen.value_counts import Statistics, counts, features

SHARE_THRESHOLD = 0.05
"""Change in a value's share of the images above which it is an anomaly."""

# A new camera or a new crop changes a side by less than this factor.
_SIDE_FACTOR = 2
_MOST_VALUES = 100
_SIDES = (names.WIDTH, names.HEIGHT)
_KNOWN = frozenset({names.LABEL, names.CLASS_NAME, *_SIDES})


def curate(statistics: Statistics) -> schema_pb2.Schema:
    """Returns the schema that TFDV infers, adapted to images.

    The classes are closed: any other class is an anomaly. So are the values of a slice column if
    each value occurs more than once: by Good (1953), the probability that the next image has a new
    value is about the share of values that occur once. A column with more than 10,000 values is
    open. A side of an image may range from half the smallest to twice the largest. The shares of
    classes, labels and slice values may change by `SHARE_THRESHOLD`, see
    `components.example_validator.shares`.

    Args:
      statistics: statistics of all images; features other than class, label, width and height
        are slice columns.
    """
    schema = tfdv.infer_schema(statistics)
    del schema.string_domain[:]
    for feature in schema.feature:
        feature.ClearField("domain_info")
        _curate(feature, statistics)
    return schema


def _curate(feature: schema_pb2.Feature, statistics: Statistics) -> None:
    name = feature.name
    if name in _SIDES:
        side = features(statistics)[name].num_stats
        feature.int_domain.min = max(1, int(side.min) // _SIDE_FACTOR)
        feature.int_domain.max = int(side.max) * _SIDE_FACTOR
        return
    if name == names.LABEL:
        feature.int_domain.min = names.NEGATIVE_LABEL
        feature.int_domain.max = names.POSITIVE_LABEL
    found = counts(statistics, name)
    if not found:
        return
    if name == names.CLASS_NAME or (name not in _KNOWN and _is_closed(found.values())):
        feature.string_domain.name = name
        feature.string_domain.value.extend(sorted(found))
    if name in _KNOWN or len(found) <= _MOST_VALUES:
        feature.drift_comparator.infinity_norm.threshold = SHARE_THRESHOLD


def _is_closed(found: Iterable[int]) -> bool:
    """Returns whether a new value is so unlikely that it is an anomaly."""
    every = list(found)
    return len(every) <= _MOST_VALUES and min(every) > 1
