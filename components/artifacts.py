"""The artifact types that TFX does not have, and the files that lie in each."""

from tfx.types.artifact import Artifact


class Quarantine(Artifact):
    """Images that ImageExampleGen refused: `quarantine.jsonl` and `summary.json`."""

    TYPE_NAME = "Quarantine"


class Sampling(Artifact):
    """ImbalanceSampler's account of asked, available and used: `sampling.json`."""

    TYPE_NAME = "Sampling"


class Predictions(Artifact):
    """The model's probability for each image of a split: `predictions-*.parquet`."""

    TYPE_NAME = "Predictions"


class Report(Artifact):
    """What a run came to: `report.html` for a person, `metrics.json` for a program."""

    TYPE_NAME = "Report"
