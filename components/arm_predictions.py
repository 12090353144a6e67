"""An arm's predictions: one row per image and replicate, in one parquet file.

A replicate predicts the images that are in the splits of its draw.

The Trainer of an arm writes the file and the StudyReporter reads it.
"""

import io
import os
from collections.abc import Iterable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.io import fileio

from components import artifact_files, names

FILE = "predictions.parquet"

REPLICATE = "replicate"
DRAW = "draw"
SPLIT = "split"

SCHEMA = pa.schema(
    [
        (REPLICATE, pa.int32()),
        (DRAW, pa.int32()),
        (SPLIT, pa.string()),
        (names.IMAGE_ID, pa.string()),
        (names.LABEL, pa.int64()),
        (names.CLASS_NAME, pa.string()),
        (names.PROBABILITY, pa.float32()),
    ]
)


def write(rows: Iterable[pd.DataFrame], folder: str) -> None:
    """Writes the rows, which may be none.

    Args:
      rows: tables with the columns of `SCHEMA`.
      folder: where the file is written; it is created.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, SCHEMA) as writer:
        for table in rows:
            writer.write_table(pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False))
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, FILE), "wb") as file:
        file.write(buffer.getvalue())


def write_list(folder: str, others: Sequence[str]) -> None:
    """Writes the list of the arm's files, which `read` checks, after all of them.

    Args:
      folder: of the artifact.
      others: names of the files besides the predictions.
    """
    entries = [artifact_files.describe(folder, name, 1) for name in others]
    entries.append(artifact_files.describe(folder, FILE, len(_read(folder))))
    # The files are small, and a parquet file has no checksum of its own.
    artifact_files.write_list(folder, entries, check_digests=True)


def read(folder: str) -> pd.DataFrame:
    """Reads the rows that `write` wrote to a folder, after checking all files of the arm.

    Raises:
      DamagedArtifactError: a file is missing or has changed.
    """
    for file in artifact_files.listed_files(folder):
        file.check_digest()
    return _read(folder)


def _read(folder: str) -> pd.DataFrame:
    with fileio.open(os.path.join(folder, FILE), "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()), columns=SCHEMA.names).to_pandas()
