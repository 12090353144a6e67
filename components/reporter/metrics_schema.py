"""The schema of `metrics.json`, and its JSON form in docs/metrics.schema.json.

    python -m components.reporter.metrics_schema

writes the JSON form. A key may be added within a version; if one is renamed, removed or changes its
meaning, `SCHEMA_VERSION` is raised.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
PATH = Path(__file__).parents[2] / "docs" / "metrics.schema.json"

Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Ends = Annotated[list[float], Field(min_length=2, max_length=2)]
Amount = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class MoreImages(_Part):
    """Images that would decide a gate."""

    positives: Count
    """Positive images to add."""
    negatives: Count
    """Negative images to add."""


Outcome = Literal["passed", "failed", "too_few_images"]


class ComparedMetric(_Part):
    """The champion's metric, and how the model's differs from it."""

    value: float
    """The champion's metric."""
    difference: float
    """Model minus champion."""
    interval: Ends
    """95 % interval of the difference."""


class Judged(_Part):
    """What the outcome of a gate rests on."""

    value: float | None
    """The metric; null if it is undefined."""
    interval: Ends | None
    """95 % interval of the metric; null without one, as for counts."""
    images: Count | None
    """Images that the metric rests on; null for anomalies."""
    outcome: Outcome
    """The outcome; with `too_few_images` the interval contains the bound."""
    more_images: MoreImages | None
    """Images that would decide, with `too_few_images`; null if no number would."""
    champion: ComparedMetric | None = None
    """The comparison that decides a gate on the champion; null for other gates."""


class JudgedSlice(Judged):
    """A slice that a gate is on."""

    slice: dict[str, str]
    """Value by column."""


class Gate(Judged):
    """The result of a gate."""

    gate: str
    """The gate as in the settings."""
    metric: str
    """The metric that it bounds."""
    at_prevalence: bool
    """Whether the metric is that at the prevalence of the real world."""
    passed: bool
    """Whether the gate does not prevent the blessing."""
    may_be_missed: bool
    """Whether the gate is passed although the interval reaches beyond its bound."""
    slice: dict[str, str] | None
    """The slice that decides; null for the whole split."""
    slices: list[JudgedSlice]
    """Every judged slice, the one that decides first; empty without slices."""
    description: str
    """The result in words."""


class OwnBalance(_Part):
    """Metrics of the operating point on unweighted val."""

    prevalence: Share
    """Share of positives in val."""
    precision: Rate
    """Share of the images predicted positive that are positive."""
    f1: Rate
    """Harmonic mean of precision and recall."""


class Costs(_Part):
    """Costs of wrong decisions, in any unit."""

    missed: Amount
    """Cost of a positive that is predicted negative."""
    false_alarm: Amount
    """Cost of a negative that is predicted positive."""


class Band(_Part):
    """The images that a person reviews."""

    share: Share
    """Largest share of images, at the prevalence."""
    lower: Rate
    """The lowest probability that is reviewed."""
    upper: Rate
    """The probability from which an image is positive without a review."""


class ReviewFigures(_Part):
    """Figures of the images that are decided without a person; null if undefined."""

    share: Rate
    """Share of all images that is reviewed."""
    precision: Rate | None
    """Among the decided images."""
    recall: Rate | None
    """Among the decided images."""
    f1: Rate | None
    """Among the decided images."""
    recall_with_review: Rate
    """Share of all positives that are predicted positive or reviewed."""
    alerts_per_thousand: Amount
    """Images predicted positive without a review, per 1,000 images in total."""
    expected_cost: Amount | None = None
    """Cost of the wrong decisions without a review, per 1,000 images in total."""
    intervals: dict[str, Ends | None]
    """95 % interval of each; null if the figure is undefined."""


class Review(Band):
    """The review band and its figures."""

    images: Count
    """Images of the split that are reviewed."""
    positives: Count
    """Positive ones among them."""
    metrics: ReviewFigures
    """Figures at the split's own balance."""
    at_prevalence: ReviewFigures
    """Figures at the prevalence of the real world."""


class Promised(_Part):
    """What to expect on new images, by cross-fitting on val; null if undefined."""

    precision: Rate | None
    """At the prevalence."""
    recall: Rate | None
    """Share of the positives that are predicted positive."""
    f1: Rate | None
    """At the prevalence."""
    f_beta: Rate | None = None
    """At the prevalence; only for `best_fbeta`."""
    alerts_per_thousand: Amount
    """Images predicted positive, per 1,000 images."""
    expected_cost: Amount | None = None
    """Cost of the wrong decisions per 1,000 images; only if costs are known."""
    intervals: dict[str, Ends | None]
    """95 % interval of each."""
    review: ReviewFigures | None
    """Figures with the review band; null without one."""


class OperatingPoint(_Part):
    """The threshold, the rule that chose it, and its metrics on val."""

    threshold: Rate
    """Probability from which an image is predicted positive."""
    rule: str
    """The rule, see `calibrator.rule` of the settings."""
    beta: Amount | None
    """The beta of `best_fbeta`; null for other rules."""
    precision_floor: Rate | None
    """The floor of `recall_at_precision`; null for other rules."""
    recall_floor: Rate | None
    """The floor of `precision_at_recall`; null for other rules."""
    alerts: Amount | None
    """The limit of `alerts_per_thousand`; null for other rules."""
    costs: Costs | None
    """Costs of wrong decisions; null if they are not known."""
    review: Band | None
    """The images that a person reviews; null if there are none."""
    promised: Promised | None
    """What to expect on new images."""
    calibration: dict[str, Any] | None
    """How scores become probabilities; null if they are the scores."""
    prevalence: Share
    """Share of positives to which val was weighted."""
    precision: Rate
    """At that prevalence."""
    precision_interval: Ends | None
    """Its 95 % interval; null if no image is predicted positive."""
    recall: Rate
    """Share of the positives that are predicted positive."""
    f1: Rate
    """At that prevalence."""
    positives: Count
    """Positive images of val."""
    negatives: Count
    """Negative images of val."""
    own_balance: OwnBalance
    """The metrics that depend on the prevalence, at val's own balance."""
    remarks: list[str]
    """Caveats, one clause each."""


class Rates(_Part):
    """Metrics at one balance of the classes; null if undefined."""

    recall: Rate | None
    """Share of the positives that are predicted positive."""
    precision: Rate | None
    """Share of the images predicted positive that are positive."""
    f1: Rate | None
    """Harmonic mean of precision and recall."""
    accuracy: Rate | None
    """Share of the images that are classified correctly."""
    specificity: Rate | None
    """Share of the negatives that are predicted negative."""
    pr_auc: Rate | None
    """Average precision."""
    auc: Rate | None
    """Area under the ROC curve."""
    ece: Rate | None
    """Expected calibration error."""
    brier: Rate | None
    """Mean squared error of the probability."""
    log_loss: Amount | None
    """Mean cross-entropy in nats."""
    alerts_per_thousand: Amount
    """Images predicted positive, per 1,000 images."""
    expected_cost: Amount | None
    """Cost of the wrong decisions per 1,000 images; null if costs are not known."""


class Counts(_Part):
    """Counts of images by label and prediction."""

    tp: Count
    """Positives that are predicted positive."""
    fp: Count
    """Negatives that are predicted positive."""
    tn: Count
    """Negatives that are predicted negative."""
    fn: Count
    """Positives that are predicted negative."""


class SplitMetrics(Rates, Counts):
    """Metrics at the split's own balance."""

    threshold: Rate
    """The operating point."""


class Intervals(_Part):
    """95 % intervals by metric; null if the metric is undefined."""

    recall: Ends | None
    """See `Rates`."""
    precision: Ends | None
    """See `Rates`."""
    f1: Ends | None
    """See `Rates`."""
    accuracy: Ends | None
    """See `Rates`."""
    specificity: Ends | None
    """See `Rates`."""
    pr_auc: Ends | None
    """See `Rates`."""
    auc: Ends | None
    """See `Rates`."""
    ece: Ends | None
    """See `Rates`."""
    brier: Ends | None
    """See `Rates`."""
    log_loss: Ends | None
    """See `Rates`."""
    alerts_per_thousand: Ends | None
    """See `Rates`."""
    expected_cost: Ends | None
    """See `Rates`."""


class AtPrevalence(Rates):
    """Metrics at the prevalence of the real world."""

    prevalence: Share
    """Share of positives in the real world."""
    intervals: Intervals
    """Their intervals."""


class SliceIntervals(_Part):
    """95 % intervals of a slice's metrics; null if the metric is undefined."""

    recall: Ends | None
    """See `Rates`."""
    precision: Ends | None
    """See `Rates`."""
    accuracy: Ends | None
    """See `Rates`."""
    specificity: Ends | None
    """See `Rates`."""
    f1: Ends | None
    """See `Rates`."""


class SliceAtPrevalence(_Part):
    """Metrics within a slice, at the share of positives that it has in the real world."""

    prevalence: Rate
    """That share."""
    recall: Rate | None
    """See `Rates`."""
    precision: Rate | None
    """See `Rates`."""
    f1: Rate | None
    """See `Rates`."""
    accuracy: Rate | None
    """See `Rates`."""
    specificity: Rate | None
    """See `Rates`."""
    intervals: SliceIntervals
    """Their intervals."""


class Slice(Counts):
    """Metrics within a slice, at its own balance."""

    slice: dict[str, str]
    """Value by column."""
    examples: Count
    """Images of the slice."""
    positives: Count
    """Positive images of the slice."""
    recall: Rate | None
    """See `Rates`."""
    precision: Rate | None
    """See `Rates`."""
    f1: Rate | None
    """See `Rates`."""
    accuracy: Rate | None
    """See `Rates`."""
    specificity: Rate | None
    """See `Rates`."""
    pr_auc: Rate | None
    """See `Rates`; null in a slice of one class."""
    intervals: SliceIntervals
    """Their intervals."""
    at_prevalence: SliceAtPrevalence
    """Metrics at the share of positives in the real world."""


class ReliabilityBin(_Part):
    """Images with similar probabilities, weighted to the prevalence."""

    low: Rate
    """Lowest probability."""
    high: Rate
    """Highest probability."""
    predicted: Rate
    """Mean probability."""
    observed: Rate
    """Share of positives."""
    interval: Ends
    """95 % interval of the share of positives."""
    weight: Rate
    """The bin's share of all images."""
    images: Count
    """Number of images."""
    positives: Count
    """Number of positive images."""


class QualityIntervals(_Part):
    """95 % intervals; null with a single image of a side."""

    ece: Ends | None
    """See `Rates`."""
    brier: Ends | None
    """See `Rates`."""
    log_loss: Ends | None
    """See `Rates`."""


class Reliability(_Part):
    """How well probabilities agree with the outcomes."""

    ece: Rate
    """See `Rates`."""
    brier: Rate
    """See `Rates`."""
    log_loss: float
    """See `Rates`."""
    ece_of_calibrated: Rate
    """What `ece` would be on average on so many images if the probabilities were right."""
    intervals: QualityIntervals
    """Their intervals."""
    bins: list[ReliabilityBin]
    """The bins of `ece`, from the lowest probabilities to the highest."""


class Calibration(_Part):
    """The probabilities before and after calibration, at the prevalence of the real world."""

    prevalence: Share
    """Share of positives in the real world."""
    before: Reliability
    """Of the model's scores."""
    after: Reliability
    """Of the calibrated probabilities."""


class DoubtedLabel(_Part):
    """An image whose label the model doubts."""

    rank: Annotated[int, Field(ge=1)]
    """Place in the ranking."""
    image_id: str
    """Identity of the image, a digest."""
    uri: str
    """Path relative to the data source."""
    split: str
    """The split that it is in."""
    class_name: str
    """Its class."""
    label: Literal[0, 1]
    """Its label: 1 for the positive class."""
    probability: Rate
    """Probability that it is positive, by a model that was not trained on it."""
    typicality: Rate | None
    """How much it resembles other images, from 0 to 1; null without features of it."""
    label_quality: Rate
    """Confident learning's label quality, from 0, for a label that is most doubted, to 1."""
    reason: Literal["contradicted", "atypical"]
    """Whether the probability speaks against the label, or the image resembles few others."""


class LabelDoubt(_Part):
    """The images whose labels are most doubted."""

    looked_at: dict[str, Count]
    """Images by split."""
    with_features: dict[str, Count]
    """Those of them that were compared with others, by split."""
    left_out: dict[str, str]
    """Why images of a split were not looked at, or not all of them."""
    images: list[DoubtedLabel]
    """The first hundred at most."""


class WorstSlice(_Part):
    """A slice, or a cross of two, compared with the rest of the split."""

    slice: dict[str, str]
    """Value by column."""
    metric: Literal["recall", "false_positive_rate"]
    """The metric that is compared: of positives, or of negatives."""
    images: Count
    """Images of the slice that the metric is computed on."""
    wrong: Count
    """Those of them that are classified wrongly."""
    value: Rate
    """The metric on the slice."""
    rest: Rate
    """The metric on the rest of the split."""
    difference: float
    """`value` minus `rest`."""
    interval: Ends
    """Of the difference, corrected for the choice of the slices that are listed."""
    worse_by: float
    """Lower bound on how much worse the slice is; the slices are ranked by it."""
    p: Rate
    """One-sided p-value."""
    q: Rate
    """The p-value, adjusted for all slices that were looked at."""
    found: bool
    """Whether `q` is at most the false discovery rate."""


class SliceSearch(_Part):
    """The search for the worst slices."""

    looked_at: Count
    """Slices and crosses of two that were compared, by metric."""
    found: Count
    """Slices that were found to be worse."""
    false_discovery_rate: Rate
    """Highest expected share of wrong ones among those found."""


class Training(_Part):
    """A summary of the training; the metrics are those of the exported epoch."""

    model: str | None
    """Name of the network."""
    parameters: Count | None
    """Number of its parameters."""
    trainable_parameters: Count | None
    """Number of those that were trained."""
    epochs: Count
    """Number of epochs; 1 for a head that was solved."""
    epoch: Count
    """The epoch, from 1, whose weights the model has."""
    keep_epoch: str | None = None
    """Which epoch's weights are kept, `best` by the PR-AUC on val or `last`; null if the model is
    of an earlier release."""
    solver: dict[str, Any] | None = None
    """How the head was solved: `optimizer`, `iterations`, `converged`, `penalty` (C as in
    scikit-learn), `penalty_chosen` (whether by cross-validation), and `cross_validation`, the
    penalties that were tried; null if it was trained in epochs."""
    loss: float | None
    """Loss on train."""
    val_loss: float | None
    """Loss on val."""
    val_pr_auc: float | None
    """Average precision on val."""
    seconds: float | None
    """Duration of the training."""


class DataCheck(_Part):
    """ExampleValidator's findings."""

    checked: bool
    """Whether there was a kept schema to check against."""
    schema_: dict[str, Any] | None = Field(alias="schema")
    """The kept schema: its version, time, number of images and folder."""
    anomalies: list[dict[str, str]]
    """One row of `feature`, `kind`, `found` and `expected` per difference."""


class MetricsFile(_Part):
    """The results of a run of outnumbered, for programs."""

    schema_version: Literal[1]
    """Version of this schema."""
    title: str
    """Name of the pipeline."""
    answer: str
    """The result in a sentence."""
    positive_class: str
    """The class that is looked for."""
    blessed: bool
    """Whether the model passed every gate."""
    reason: str
    """Why, in words."""
    gates: list[Gate]
    """The result of each gate."""
    operating_point: OperatingPoint
    """The threshold and its metrics on val."""
    split: str
    """The split that the metrics are computed on."""
    examples: Count
    """Its images."""
    positives: Count
    """Its positive images."""
    metrics: SplitMetrics
    """Metrics at the split's own balance."""
    intervals: Intervals
    """Intervals of `metrics`."""
    at_prevalence: AtPrevalence
    """Metrics at the prevalence of the real world."""
    review: Review | None
    """The images that a person reviews; null if the model has no review band."""
    slices: list[Slice]
    """Metrics within slices."""
    worst_slices: list[WorstSlice]
    """The slices that were found to be worse, the worst first, and others up to 10; at most 100."""
    slice_search: SliceSearch
    """How many slices were compared and found."""
    bands: dict[str, Ends]
    """Upper bounds of the lower and the middle band, by measure."""
    slices_left_out: dict[str, str]
    """Why metrics are not sliced by columns, or why those are not searched, by the columns."""
    calibration: Calibration
    """The probabilities before and after calibration."""
    label_doubt: LabelDoubt
    """The images whose labels are most doubted."""
    training: Training | None
    """Summary of the training; null if no history was recorded."""
    champion: dict[str, Any] | None = None
    """The comparison with the champion, see `components.evaluator.champion_record`: `state`,
    `reason`, `version`, `threshold`, and by metric the figures on `test` and `newest_span`; null
    for a model of an earlier release."""
    sampling: dict[str, Any]
    """The sampler's report: classes, splits, near-duplicates and, with `assignment: stable`,
    the ledger."""
    quarantine: dict[str, Any]
    """Numbers of listed, accepted, duplicate and refused images, by reason and class, and the
    fingerprint of the data: images, positives and digest of each span (`data`)."""
    reading: dict[str, Any] | None
    """How images are read; null for a model that does not record it."""
    data_check: DataCheck
    """Differences between the data and the kept schema."""
    pushed_model: str | None
    """Folder of the pushed model; null if none was pushed."""


def json_schema() -> str:
    """Returns the JSON Schema (draft 2020-12) of the file."""
    schema = MetricsFile.model_json_schema()
    return json.dumps(
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=1
    )


if __name__ == "__main__":
    PATH.write_text(json_schema() + "\n", encoding="utf-8")
