"""What of a version's record is tracked: metrics, parameters and tags. Pure functions."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.registry import VersionRecord
from components.registry.record import RECORD_FILE

CANDIDATE = "candidate"
SERVING = "serving"
RETIRED = "retired"
"""Stages of a version: pushed, serving, and not serving any more."""

_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
# Sections of the settings that say where a run takes place, not what is trained.
_NOT_PARAMETERS = ("kubeflow", "tracking")


@dataclass(frozen=True, kw_only=True)
class TrackedVersion:
    """A version, as it is tracked.

    Attributes:
      key: identifies the version wherever its registry is mounted.
      version: its number.
      uri: of its folder; a path is absolute.
      metrics: by name: `recall`, `recall.lower`, `at_prevalence.recall` …
      parameters: settings of the run by dotted key, as text.
      tags: facts and lineage by name, as text; URIs of the run's artifacts as `artifact.NAME`.
    """

    key: str
    version: int
    uri: str
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


def tracked(record: VersionRecord, uri: str) -> TrackedVersion:
    """Returns what is tracked of a version.

    Args:
      record: of the version.
      uri: of its folder.
    """
    place = uri if "://" in uri else os.path.abspath(uri)
    return TrackedVersion(
        key=_key(record, place),
        version=record.version,
        uri=place,
        metrics=dict(_metrics(record)),
        parameters=dict(_parameters(record.settings or {})),
        tags=dict(_tags(record, place)),
    )


def _key(record: VersionRecord, uri: str) -> str:
    """Returns a digest of what no two versions share.

    The place is not part of it, since a volume may be mounted elsewhere; only an earlier release,
    which recorded no time, leaves nothing else.
    """
    if record.created is None:
        facts = [record.version, uri]
    else:
        digest = record.data.digest if record.data else None
        facts = [record.version, record.created.isoformat(), record.lineage.run, digest]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _metrics(record: VersionRecord) -> Iterator[tuple[str, float]]:
    if record.metrics is not None:
        found = record.metrics
        yield f"{found.split}.images", float(found.examples)
        yield f"{found.split}.positives", float(found.positives)
        yield from _figures("", {**found.metrics, "intervals": found.intervals})
        yield from _figures("at_prevalence.", found.at_prevalence)
    yield from _figures("", {"threshold": (record.operating_point or {}).get("threshold")})


def _figures(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if _is_number(value):
            yield f"{prefix}{name}", float(value)
    for name, interval in (figures.get("intervals") or {}).items():
        if isinstance(interval, list | tuple) and len(interval) == 2:
            for end, bound in zip(("lower", "upper"), interval, strict=True):
                if _is_number(bound):
                    yield f"{prefix}{name}.{end}", float(bound)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _parameters(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sections = {key: value for key, value in settings.items() if key not in _NOT_PARAMETERS}
    return _leaves("", sections)


def _leaves(prefix: str, section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        # Keys that users name, such as classes, may have characters that a server refuses.
        is_section = isinstance(value, Mapping) and value and all(map(_KEY.fullmatch, value))
        if is_section:
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", _text(value)


def _tags(record: VersionRecord, uri: str) -> Iterator[tuple[str, str]]:
    point = record.operating_point or {}
    found = {
        "version": record.version,
        "uri": uri,
        "record_uri": f"{uri}/{RECORD_FILE}" if record.created else None,
        "created": record.created and record.created.isoformat(),
        "blessed": record.blessed,
        "reason": record.reason,
        "rule": point.get("rule"),
        "run": record.lineage.run,
        "code_version": record.lineage.code_version,
        "champion": record.lineage.champion,
        "warm_start": record.lineage.warm_start,
        "data.digest": record.data and record.data.digest,
        "data.images": record.data and record.data.images,
        "data.positives": record.data and record.data.positives,
        "data.spans": record.data and ", ".join(each.span for each in record.data.spans),
        **{f"artifact.{name}": at for name, at in (record.lineage.artifacts or {}).items()},
    }
    return ((name, _text(value)) for name, value in found.items() if value not in (None, ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
