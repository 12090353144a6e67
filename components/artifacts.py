"""The artifact types that TFX does not have, and the files that lie in each.

A type's name has a point in it: TFX compiles no other for Kubeflow Pipelines.
"""

from tfx.types.artifact import Artifact


class Quarantine(Artifact):
    """Images that ImageExampleGen refused: `quarantine.jsonl` and `summary.json`."""

    TYPE_NAME = "outnumbered.Quarantine"


class Sampling(Artifact):
    """ImbalanceSampler's account of asked, available and used: `sampling.json`."""

    TYPE_NAME = "outnumbered.Sampling"


class Predictions(Artifact):
    """The model's probability for each image of a split: `predictions-*.parquet`."""

    TYPE_NAME = "outnumbered.Predictions"


class Report(Artifact):
    """What a run came to: `report.html` for a person, `metrics.json` for a program."""

    TYPE_NAME = "outnumbered.Report"


class StudyReport(Artifact):
    """What a study came to: `study.html`, `study.json`, `runs.csv` and `predictions.parquet`."""

    TYPE_NAME = "outnumbered.StudyReport"
