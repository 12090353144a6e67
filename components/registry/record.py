"""The record of a version, `version.json`: where a model comes from and how good it is.

A key may be added within a schema version; if one is renamed, removed or changes its meaning, the
schema version is raised. What is unknown is null.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

RECORD_FILE = "version.json"

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a registry's files; keys of later releases are kept."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, frozen=True)


class Metrics(Part):
    """The Evaluator's metrics of the model, with the keys of metrics.json."""

    split: str
    """The evaluated split."""
    examples: Count
    """Images of the split."""
    positives: Count
    """Positive images of the split."""
    metrics: dict[str, Any]
    """Metrics at the split's own balance."""
    intervals: dict[str, Any]
    """95 % intervals of these metrics."""
    at_prevalence: dict[str, Any]
    """Metrics at the prevalence of the real world, with the prevalence and their intervals."""


class Span(Part):
    """A span of the data."""

    span: str
    """Number or date of the span; empty for data without spans."""
    images: Count
    """Images of the span."""
    positives: Count
    """Positive images of the span."""
    digest: Digest
    """Digest of the span's content."""


class Data(Part):
    """A fingerprint of the data that the model was made from."""

    spans: list[Span]
    """The spans, oldest first."""
    images: Count
    """Images of all spans."""
    positives: Count
    """Positive images of all spans."""
    digest: Digest
    """Digest of the content of all spans."""


class Lineage(Part):
    """What made the version."""

    run: str | None = None
    """Id of the pipeline run."""
    code_version: str | None = None
    """Digest of the code and of its main libraries, or the name of the steps' image."""
    champion: Number | None = None
    """The version that served, with which the model was compared; null if it was not."""
    warm_start: Number | None = None
    """The version with whose weights the training began; null if it began from nothing."""
    artifacts: dict[str, str] | None = None
    """URIs of the run's artifacts that the model was made and judged from, by name."""


class VersionRecord(Part):
    """The content of `version.json`; its digest is in the version's list of files."""

    schema_version: Literal[1] = 1
    """Version of this schema."""
    version: Number
    """The version's number, which is the name of its folder."""
    created: AwareDatetime | None = None
    """When the version was pushed, in UTC."""
    blessed: bool | None = None
    """Whether the model passed every gate."""
    reason: str | None = None
    """Why it is blessed, or is not."""
    operating_point: dict[str, Any] | None = None
    """The threshold, its rule and its figures, as in the model's assets."""
    calibration: dict[str, Any] | None = None
    """How probabilities are calibrated, as in the model's assets."""
    metrics: Metrics | None = None
    """Metrics with their intervals."""
    settings: dict[str, Any] | None = None
    """All settings of the run."""
    data: Data | None = None
    """Fingerprint of the data."""
    lineage: Lineage = Lineage()
    """Run, code and champion."""
