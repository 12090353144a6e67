"""The project's own artifact types, and the files in each.

The type names contain a dot, which TFX requires to compile them for Kubeflow Pipelines.
"""

from tfx.types.artifact import Artifact


class Quarantine(Artifact):
    """Images that ImageExampleGen refused: `quarantine.jsonl` and `summary.json`."""

    TYPE_NAME = "outnumbered.Quarantine"


class Sampling(Artifact):
    """ImbalanceSampler's report on images requested, available and used: `sampling.json`."""

    TYPE_NAME = "outnumbered.Sampling"


class Predictions(Artifact):
    """The model's probability for each image of a split: `predictions-*.parquet`."""

    TYPE_NAME = "outnumbered.Predictions"


class Champion(Artifact):
    """The model that is serving: `champion.json`, and its SavedModel in `model/` unless none is."""

    TYPE_NAME = "outnumbered.Champion"


class Report(Artifact):
    """The results of a run: `report.html` for people, `metrics.json` for programs."""

    TYPE_NAME = "outnumbered.Report"


class StudyReport(Artifact):
    """The results of a study: `study.html`, `study.json`, `runs.csv` and `predictions.parquet`."""

    TYPE_NAME = "outnumbered.StudyReport"
