"""The Predictions artifact: one row per image, one parquet file per shard of the split."""

import os
from collections.abc import Sequence
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.io import fileio

from components import artifact_files, names

_PREFIX, _SUFFIX = "predictions-", ".parquet"


def schema(slice_columns: Sequence[str]) -> pa.Schema:
    """Returns the columns of a row; slice columns are text, empty if an image has no value."""
    texts = [names.IMAGE_ID, names.URI, names.CLASS_NAME]
    return pa.schema(
        [(name, pa.string()) for name in texts]
        + [
            (names.LABEL, pa.int64()),
            (names.PROBABILITY, pa.float32()),
            (names.SCORE, pa.float32()),
            (names.IS_POSITIVE, pa.int64()),
            (names.NEEDS_REVIEW, pa.int64()),
        ]
        + [(name, pa.string()) for name in slice_columns if name not in texts]
    )


def _name(index: int, count: int) -> str:
    return f"{_PREFIX}{index:05d}-of-{count:05d}{_SUFFIX}"


def write(rows: pa.Table, uri: str, *, index: int, count: int) -> None:
    """Writes the rows of shard `index` of `count` atomically."""
    path = os.path.join(uri, _name(index, count))
    buffer = BytesIO()
    pq.write_table(rows, buffer)
    with fileio.open(f"{path}.writing", "wb") as file:
        file.write(buffer.getvalue())
    fileio.rename(f"{path}.writing", path, overwrite=True)


def write_list(uri: str) -> None:
    """Writes the list of the artifact's files, which `read` checks.

    Args:
      uri: URI of the artifact, with all of its predictions.
    """
    listed = (str(name) for name in fileio.listdir(uri))
    files = [name for name in listed if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    entries = [
        artifact_files.describe(uri, name, len(_read_file(os.path.join(uri, name), [])))
        for name in files
    ]
    # The files are small, and a parquet file has no checksum of its own.
    artifact_files.write_list(uri, entries, check_digests=True)


def read(uri: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Reads all rows of a Predictions artifact, sorted by image_id.

    Args:
      uri: URI of the artifact.
      columns: columns to read besides image_id; None for all.

    Raises:
      FileNotFoundError: the artifact has no predictions.
      DamagedArtifactError: a file is missing or has changed.
    """
    files = artifact_files.listed_files(uri)
    if not files:
        raise FileNotFoundError(f"no {_PREFIX}*{_SUFFIX} exists in {uri}")
    selected = None if columns is None else [names.IMAGE_ID, *columns]
    tables = []
    for file in files:
        file.check_digest()
        tables.append(_read_file(file.path, selected))
        file.check_count(len(tables[-1]))
    rows = pa.concat_tables(tables).to_pandas()
    return rows.sort_values(names.IMAGE_ID, kind="stable", ignore_index=True)


def _read_file(path: str, columns: list[str] | None) -> pa.Table:
    with fileio.open(path, "rb") as file:
        return pq.read_table(pa.BufferReader(file.read()), columns=columns)
