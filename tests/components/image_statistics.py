"""Statistics of invented images, by TFDV, as StatisticsGen writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# TFX before TFDV.
import tfx.types  # noqa: F401  isort: skip
import tensorflow_data_validation as tfdv
from tfx.types import standard_artifacts

from components import names
from components.schema_gen import value_counts


def statistics(classes: dict[str, int], *, drop: str | None = None, **columns: Any):
    """Makes statistics of images; class `dogs` is positive.

    Sides range from 100 to 400 pixels; half of the images have the lighting `day`, half `dim`.

    Args:
      classes: number of images by class.
      drop: a column to omit.
      **columns: values that replace a column or add one.
    """
    class_names = [name for name, count in classes.items() for _ in range(count)]
    count = len(class_names)
    table = {
        names.CLASS_NAME: class_names,
        names.LABEL: [int(name == "dogs") for name in class_names],
        names.WIDTH: np.linspace(100, 400, count).astype(int),
        names.HEIGHT: np.linspace(100, 400, count).astype(int),
        "lighting": np.resize(["day", "dim"], count),
        **columns,
    }
    table.pop(drop or "", None)
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame(table), n_jobs=1)


def statistics_artifact(found: Any, uri: Path) -> standard_artifacts.ExampleStatistics:
    """Writes the statistics as StatisticsGen does."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = str(uri), '["all"]'
    path = Path(value_counts.statistics_path(artifact.uri))
    path.parent.mkdir(parents=True)
    path.write_bytes(found.SerializeToString())
    return artifact
