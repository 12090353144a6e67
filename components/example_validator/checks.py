"""Finds the differences between the data and the kept schema, as readable rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# TFX before TFDV: importing TFDV first fails in tfx_bsl.
import tfx.types  # noqa: F401 - see above  isort: skip
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tensorflow_metadata.proto.v0.anomalies_pb2 import AnomalyInfo as Info

from components import names
from components.example_validator import shares
from components.schema_gen.baseline import Baseline
from components.schema_gen.value_counts import Statistics, counts, features

NEW_CLASS = "new class"
VANISHED_CLASS = "vanished class"
NEW_VALUE = "new value"
NEW_COLUMN = "new column"
VANISHED_COLUMN = "vanished column"
OUT_OF_RANGE = "out of range"
SHARE = "changed share"

_SHOWN = 5
_VANISHED = {Info.SCHEMA_MISSING_COLUMN, Info.FEATURE_TYPE_NOT_PRESENT}
_RANGE = {Info.INT_TYPE_SMALL_INT, Info.INT_TYPE_BIG_INT}


@dataclass(frozen=True)
class Anomaly:
    """One difference between the data and the kept schema.

    Attributes:
      feature: the feature with the anomaly.
      kind: one of the kinds of this module, or TFDV's own short description.
      found: the state in the data.
      expected: the state by the kept schema.
    """

    feature: str
    kind: str
    found: str
    expected: str


def find(statistics: Statistics, kept: Baseline) -> tuple[anomalies_pb2.Anomalies, list[Anomaly]]:
    """Checks the data by TFDV, and for anomalies that TFDV does not detect.

    TFDV does not detect vanished classes, and its threshold for shares depends neither on the
    number of images nor on the share: `shares.drifted` is used instead.

    Args:
      statistics: statistics of all images.
      kept: the schema and the earlier statistics.

    Returns:
      TFDV's anomalies, and all anomalies as rows.
    """
    by_tfdv = tfdv.validate_statistics(statistics, kept.schema, previous_statistics=kept.statistics)
    # Values of a side that are too small and values that are too large give one row.
    rows = dict.fromkeys(_tfdv_rows(by_tfdv, statistics, kept.schema))
    vanished = _vanished_classes(statistics, kept)
    return by_tfdv, [*rows, *vanished, *_drifts(statistics, kept)]


def _tfdv_rows(
    by_tfdv: anomalies_pb2.Anomalies, statistics: Statistics, schema: schema_pb2.Schema
) -> Iterable[Anomaly]:
    for _, info in sorted(by_tfdv.anomaly_info.items()):
        feature = ".".join(info.path.step)
        for reason in info.reason:
            if reason.type != Info.COMPARATOR_L_INFTY_HIGH:
                yield _row(feature, reason, statistics, schema)
    for reason in by_tfdv.dataset_anomaly_info.reason:
        yield _described_by_tfdv("all images", reason)


def _row(
    feature: str, reason: Info.Reason, statistics: Statistics, schema: schema_pb2.Schema
) -> Anomaly:
    if reason.type == Info.ENUM_TYPE_UNEXPECTED_STRING_VALUES and counts(statistics, feature):
        return _new_values(feature, statistics, schema)
    if reason.type in _VANISHED:
        return Anomaly(feature, VANISHED_COLUMN, "no image has a value", "a value for every image")
    if reason.type == Info.SCHEMA_NEW_COLUMN:
        known = _listed(found.name for found in schema.feature)
        return Anomaly(feature, NEW_COLUMN, "a column not in the schema", f"one of {known}")
    if reason.type in _RANGE:
        return _range(feature, statistics, schema)
    return _described_by_tfdv(feature, reason)


def _described_by_tfdv(feature: str, reason: Info.Reason) -> Anomaly:
    kind = reason.short_description.lower().rstrip(".")
    return Anomaly(feature, kind, reason.description.strip(), "data that matches the schema")


def _new_values(feature: str, statistics: Statistics, schema: schema_pb2.Schema) -> Anomaly:
    known = _domain(schema, feature)
    found = {
        value: count for value, count in counts(statistics, feature).items() if value not in known
    }
    images = _listed(f"{_quoted(value)} ({count:,} images)" for value, count in found.items())
    kind = NEW_CLASS if feature == names.CLASS_NAME else NEW_VALUE
    return Anomaly(feature, kind, images, f"one of {_listed(map(_quoted, known))}")


def _range(feature: str, statistics: Statistics, schema: schema_pb2.Schema) -> Anomaly:
    found = features(statistics)[feature].num_stats
    allowed = tfdv.get_feature(schema, feature).int_domain
    return Anomaly(
        feature,
        OUT_OF_RANGE,
        f"{found.min:.0f} to {found.max:.0f}",
        f"{allowed.min} to {allowed.max}",
    )


def _vanished_classes(statistics: Statistics, kept: Baseline) -> list[Anomaly]:
    now, before = (counts(found, names.CLASS_NAME) for found in (statistics, kept.statistics))
    return [
        Anomaly(
            names.CLASS_NAME,
            VANISHED_CLASS,
            f"no image of {_quoted(value)}",
            f"{before.get(value, 0):,} of {sum(before.values()):,} images, as before",
        )
        for value in _domain(kept.schema, names.CLASS_NAME)
        if now and value not in now
    ]


def _drifts(statistics: Statistics, kept: Baseline) -> list[Anomaly]:
    found = [
        _drift(feature, statistics, kept)
        for feature in kept.schema.feature
        if feature.drift_comparator.HasField("infinity_norm")
        and feature.name in features(statistics)
    ]
    rows = {row.feature: row for row in found if row is not None}
    if _classes_differ(statistics, kept) or names.CLASS_NAME in rows:
        # Labels follow from classes, so it would be the same anomaly twice.
        rows.pop(names.LABEL, None)
    return list(rows.values())


def _classes_differ(statistics: Statistics, kept: Baseline) -> bool:
    now, before = (counts(found, names.CLASS_NAME) for found in (statistics, kept.statistics))
    return now.keys() != before.keys()


def _drift(feature: schema_pb2.Feature, statistics: Statistics, kept: Baseline) -> Anomaly | None:
    threshold = feature.drift_comparator.infinity_norm.threshold
    now, before = (counts(found, feature.name) for found in (statistics, kept.statistics))
    found = shares.drifted(_compared(feature, before, now, kept), now, threshold)
    if not found:
        return None
    return Anomaly(
        feature.name,
        SHARE,
        _listed(f"{_quoted(s.value)} {_share(s.now, s.of_now)}" for s in found),
        _listed(f"{_quoted(s.value)} {_share(s.before, s.of_before)}" for s in found)
        + f", with a tolerance of {threshold:g}",
    )


def _compared(
    feature: schema_pb2.Feature, before: Mapping[str, int], now: Mapping[str, int], kept: Baseline
) -> dict[str, int]:
    """Returns the values whose shares are compared: those without another anomaly."""
    known = _domain(kept.schema, feature.name) or list(before)
    if feature.name == names.CLASS_NAME:
        known = [value for value in known if value in now]
    return {value: count for value, count in before.items() if value in known}


def _domain(schema: schema_pb2.Schema, feature: str) -> list[str]:
    """Returns the allowed values; none if the column is open."""
    try:
        domain = tfdv.get_domain(schema, feature)
    except ValueError:  # no such feature, or one without a domain
        return []
    return list(domain.value) if isinstance(domain, schema_pb2.StringDomain) else []


def _share(images: int, of: int) -> str:
    return f"{images / of:.3g} ({images:,} of {of:,})"


def _quoted(value: str) -> str:
    return repr(value) if value else "(none)"


def _listed(texts: Iterable[str]) -> str:
    every = list(texts)
    more = [f"{len(every) - _SHOWN:,} more"] if len(every) > _SHOWN else []
    return ", ".join([*every[:_SHOWN], *more])
