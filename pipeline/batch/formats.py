"""The formats of the rows: JSON lines, CSV and Parquet, by the suffix of the output's name.

Imports neither TensorFlow nor TFX.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components import names
from components.messages import InputError
from pipeline.predict import batches

Row = Mapping[str, Any]

PATH, MODEL_VERSION, ERROR = "path", "model_version", "error"
_TEXTS = (names.URI, PATH, MODEL_VERSION, ERROR)
_NUMBERS = (names.PROBABILITY, names.SCORE)
_FLAGS = (names.IS_POSITIVE, names.NEEDS_REVIEW)
COLUMNS = (names.URI, PATH, *_NUMBERS, *_FLAGS, MODEL_VERSION, ERROR)
"""The columns of a row, in order. A value that is not known is null, and empty in CSV."""

_ROWS_PER_GROUP = 50_000


class OutputError(InputError):
    """An output that can't be written; the message says what to give instead."""


def check_suffix(output: str) -> None:
    """Refuses an output whose suffix names no format.

    Raises:
      OutputError: it does not.
    """
    if _suffix(output) not in _WRITERS:
        raise OutputError(
            f"--output must end in one of {', '.join(sorted(_WRITERS))}. Received: {output!r}"
        )


def write(rows: Iterable[Row], path: Path) -> None:
    """Writes rows in the format of the path's suffix; a part of them is in memory at a time."""
    _WRITERS[_suffix(str(path))](rows, path)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _write_json_lines(rows: Iterable[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


def _write_csv(rows: Iterable[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_in_csv(row[name]) for name in COLUMNS] for row in _of_utf8(rows))


def _in_csv(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value


def _write_parquet(rows: Iterable[Row], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (
        dict.fromkeys(_TEXTS, pa.string())
        | dict.fromkeys(_NUMBERS, pa.float32())
        | dict.fromkeys(_FLAGS, pa.bool_())
    )
    schema = pa.schema([(name, kinds[name]) for name in COLUMNS])
    with pq.ParquetWriter(path, schema) as writer:
        for group in batches(_of_utf8(rows), _ROWS_PER_GROUP):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _of_utf8(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Replaces the bytes of file names that are not UTF-8, which JSON alone can represent."""
    for row in rows:
        yield {
            name: os.fsencode(value).decode("utf-8", "replace") if isinstance(value, str) else value
            for name, value in row.items()
        }


_WRITERS: dict[str, Callable[[Iterable[Row], Path], None]] = {
    ".jsonl": _write_json_lines,
    ".ndjson": _write_json_lines,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
