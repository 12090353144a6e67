"""The Predictions artifact: one row per image, one parquet file per shard of the split."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.io import fileio

from components import artifact_files, names
from components.bundle_file import bundle_file

IDENTITY = (names.IMAGE_ID, names.URI)
"""Columns that identify an image."""

# Columns that are 0 or 1.
_FLAGS = (
    names.LABEL,
    names.IS_POSITIVE,
    names.NEEDS_REVIEW,
    names.CHAMPION_IS_POSITIVE,
)
_PREFIX, _SUFFIX = "predictions-", ".parquet"


CHAMPION = (names.CHAMPION_PROBABILITY, names.CHAMPION_IS_POSITIVE)
"""Columns of the champion's predictions."""


def schema(slice_columns: Sequence[str], *, champion: bool = False) -> pa.Schema:
    """Returns the columns of a row; slice columns are text, empty if an image has no value.

    Args:
      slice_columns: the slice columns.
      champion: whether the row has the champion's predictions too, and the image's span.
    """
    texts = [names.IMAGE_ID, names.URI, names.CLASS_NAME]
    of_champion = [(names.SPAN, pa.string())] if names.SPAN not in slice_columns else []
    of_champion += zip(CHAMPION, (pa.float32(), pa.int64()), strict=True)
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
        + (of_champion if champion else [])
    )


def _name(index: int, count: int) -> str:
    return f"{_PREFIX}{index:05d}-of-{count:05d}{_SUFFIX}"


def write(rows: pa.Table, uri: str, *, index: int, count: int) -> None:
    """Writes the rows of shard `index` of `count` atomically."""
    path = os.path.join(uri, _name(index, count))
    buffer = BytesIO()
    pq.write_table(rows, buffer)
    with bundle_file(path) as hidden, fileio.open(hidden, "wb") as file:
        file.write(buffer.getvalue())


def write_list(uri: str) -> None:
    """Writes the list of the artifact's files, which `read` checks.

    Removes the hidden files that killed workers have left.

    Args:
      uri: URI of the artifact, with all of its predictions.
    """
    listed = [str(name) for name in fileio.listdir(uri)]
    for name in listed:
        if name.startswith(f".{_PREFIX}"):
            fileio.remove(os.path.join(uri, name))
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
    selected = None if columns is None else [names.IMAGE_ID, *columns]
    tables = _tables(uri, lambda path: _read_file(path, selected))
    rows = pa.concat_tables(tables).to_pandas()
    return rows.sort_values(names.IMAGE_ID, kind="stable", ignore_index=True)


def read_figures(uri: str) -> pd.DataFrame:
    """Reads all that metrics are computed from, in a few bytes per row.

    The columns that identify an image are left out, and text is read as categories, so the memory
    does not depend on the length of names. The rows are sorted by all of their columns: results
    do not depend on shards and files.

    Args:
      uri: URI of the artifact.

    Raises: as `read`.
    """
    rows = pa.concat_tables(_tables(uri, _read_narrow)).unify_dictionaries().to_pandas()
    for name in rows.select_dtypes("category"):
        categories = sorted(rows[name].cat.categories)
        rows[name] = rows[name].cat.reorder_categories(categories)
    order = np.lexsort([_sortable(rows[name]) for name in reversed(rows.columns)])
    return rows.take(order).reset_index(drop=True)


def _sortable(column: pd.Series) -> np.ndarray:
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    return (column.cat.codes if is_category else column).to_numpy()


def _tables(uri: str, read_file: Callable[[str], pa.Table]) -> list[pa.Table]:
    """Reads and checks each file of the artifact."""
    files = artifact_files.listed_files(uri)
    if not files:
        raise FileNotFoundError(f"no {_PREFIX}*{_SUFFIX} exists in {uri}")
    tables = []
    for file in files:
        file.check_digest()
        tables.append(read_file(file.path))
        file.check_count(len(tables[-1]))
    return tables


def _read_narrow(path: str) -> pa.Table:
    """Reads a file without the columns that identify an image, in narrow types."""
    source = _source(path)
    fields = [field for field in pq.read_schema(source) if field.name not in IDENTITY]
    kinds = {field.name: _narrow(field) for field in fields}
    texts = [name for name, kind in kinds.items() if pa.types.is_dictionary(kind)]
    rows = pq.ParquetFile(source, read_dictionary=texts).read(list(kinds))
    return rows.cast(pa.schema(list(kinds.items())))


def _narrow(column: pa.Field) -> pa.DataType:
    if pa.types.is_string(column.type):
        return pa.dictionary(pa.int32(), pa.string())
    return pa.int8() if column.name in _FLAGS else column.type


def _read_file(path: str, columns: list[str] | None) -> pa.Table:
    return pq.ParquetFile(_source(path)).read(columns)


def _source(path: str) -> str | pa.BufferReader:
    """Returns what parquet reads from; of a local file, only the columns are read."""
    if "://" not in path:
        return path
    with fileio.open(path, "rb") as file:
        return pa.BufferReader(file.read())
