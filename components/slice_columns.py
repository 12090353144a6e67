"""What is known of the slice columns of all images: the bounds of bands, and numbers of values.

ImageExampleGen writes the file, the sampler copies its content into its report, and the Evaluator
decides by it which slices to compute. Examples of older versions have no such file.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike
from tfx.dsl.io import fileio

from components import artifact_files, bands, names
from components.artifact_files import Described

FILE = "slice_columns.json"

MAX_VALUES = 1_000
"""Values of a column above which metrics are not sliced by it."""

BANDS = "bands"
VALUES = "values"


def summarize(
    measures: Mapping[names.Band, ArrayLike], columns: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the content of the file.

    Args:
      measures: (n,) of all images, by name.
      columns: number of distinct values by column of the manifest.

    Returns:
      `bands`, the upper bounds of the lower and the middle band by measure (None if all images
      have the same value), and `values`, the number of values by column.
    """
    return {
        BANDS: {name: bands.bounds(values) for name, values in measures.items()},
        VALUES: dict(columns),
    }


def write(content: Mapping[str, Any], uri: str) -> Described:
    """Writes the file into the Examples artifact at `uri`, and returns its entry in the list."""
    with fileio.open(os.path.join(uri, FILE), "w") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return artifact_files.describe(uri, FILE)


def read(uri: str) -> dict[str, Any] | None:
    """Reads the file of the Examples artifact at `uri`; None for examples of an older version.

    Raises:
      DamagedArtifactError: the file is listed, but missing or changed.
    """
    listed = [file for file in artifact_files.listed_files(uri) if file.path.endswith(FILE)]
    if not listed:
        return None
    listed[0].check_digest()
    with fileio.open(listed[0].path, "r") as file:
        return json.loads(file.read())
