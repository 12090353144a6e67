"""An arm's predictions: one row per image and replicate, in one parquet file.

The Trainer of an arm writes the file and the StudyReporter reads it.
"""

import io
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.io import fileio

from components import names

FILE = "predictions.parquet"

REPLICATE = "replicate"
SPLIT = "split"

SCHEMA = pa.schema(
    [
        (REPLICATE, pa.int32()),
        (SPLIT, pa.string()),
        (names.IMAGE_ID, pa.string()),
        (names.LABEL, pa.int64()),
        (names.CLASS_NAME, pa.string()),
        (names.PROBABILITY, pa.float32()),
    ]
)


def write(rows: list[pd.DataFrame], folder: str) -> None:
    """Writes the rows, which may be none.

    Args:
      rows: tables with the columns of `SCHEMA`.
      folder: where the file is written; it is created.
    """
    found = [pa.Table.from_pandas(table, schema=SCHEMA) for table in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables([SCHEMA.empty_table(), *found]), buffer)
    fileio.makedirs(folder)
    with fileio.open(os.path.join(folder, FILE), "wb") as file:
        file.write(buffer.getvalue())


def read(folder: str) -> pd.DataFrame:
    """Reads the rows that `write` wrote to a folder; returns none if the file does not exist."""
    path = os.path.join(folder, FILE)
    if not fileio.exists(path):
        return SCHEMA.empty_table().to_pandas()
    with fileio.open(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()), columns=SCHEMA.names).to_pandas()
