"""Reads manifests: CSV or JSON lines with `uri`, `label` and any slice columns."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, TextIO

from components.image_example_gen import files
from components.messages import InputError
from components.spelling import composed, folded

URI_COLUMN = "uri"
LABEL_COLUMN = "label"

_CSV = (".csv",)
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_VALUE_SHOWN = 80


class SourceError(InputError):
    """A data source that can't be used; the message says what to change."""


class UnreachableError(SourceError):
    """A data source, or a file of it, that can't be found or read from this machine."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest.

    Attributes:
      line: line number in the file, from 1.
      uri: path of the image as written in the manifest.
      label: class of the image, in Unicode's composed form (NFC); never empty.
      columns: all columns as text; names and values are in the composed form, without leading
        and trailing spaces.
    """

    line: int
    uri: str
    label: str
    columns: dict[str, str]


def read_rows(path: str) -> list[Row]:
    """Returns the rows of a manifest, in the order of the file.

    Args:
      path: a `.csv` file, comma-separated with a header; or `.jsonl`, `.ndjson` or `.json`,
        one JSON object per line. UTF-8, with or without a byte order mark.

    Raises:
      SourceError: the file does not exist, has another format, or has an invalid line.
    """
    rows = [_row(path, line, columns) for line, columns in _lines(path)]
    if not rows:
        raise SourceError(f"manifest {path} has no rows; write one line per image")
    return rows


def read_uris(path: str) -> Iterator[tuple[int, str]]:
    """Yields the line number and the uri of each row, one row at a time; no label is required.

    Args:
      path: as `read_rows`; a local file is not read into memory.

    Raises:
      SourceError: as `read_rows`, when the row is reached.
    """
    for line, columns in _lines(path, required=(URI_COLUMN,)):
        yield line, _filled(path, line, URI_COLUMN, columns.get(URI_COLUMN, "").strip())


def columns_of(rows: Sequence[Row]) -> set[str]:
    """Returns the names of all columns that occur in any row."""
    return {name for row in rows for name in row.columns}


def _lines(
    path: str, required: Sequence[str] = (URI_COLUMN, LABEL_COLUMN)
) -> Iterator[tuple[int, dict[str, str]]]:
    suffix = path[path.rfind(".") :].lower()
    if suffix not in (*_CSV, *_JSON_LINES):
        raise SourceError(
            f"name of the manifest must end in one of {', '.join((*_CSV, *_JSON_LINES))}. "
            f"Received: {path}"
        )
    # A JSON string may contain line separators other than \n.
    read, newline = (_csv_lines, "") if suffix in _CSV else (_json_lines, "\n")
    try:
        with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline=newline) as text:
            yield from read(path, text, required)
    except OSError as error:
        raise UnreachableError(f"manifest {path} can't be read: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"manifest {path} is not UTF-8 ({error}); save it as UTF-8") from error


def _opened(path: str) -> BinaryIO:
    return io.BytesIO(files.read_bytes(path)) if files.is_remote(path) else open(path, "rb")


def _csv_lines(
    path: str, text: TextIO, required: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(text, strict=True)
    try:
        header = [_normalized(name) for name in next(reader, [])]
        _check_header(path, header, required)
        for fields in reader:
            if len(fields) > len(header):
                raise SourceError(
                    f"manifest {path}, line {reader.line_num} must have {len(header)} fields, as "
                    f"the header; quote fields that contain a comma. Received: {len(fields)} fields"
                )
            if fields:
                yield reader.line_num, dict(zip(header, fields, strict=False))
    except csv.Error as error:
        raise SourceError(f"manifest {path}, line {reader.line_num}: {error}") from error


def _check_header(path: str, header: list[str], required: Sequence[str]) -> None:
    if len(set(header)) < len(header):
        repeated = sorted(name for name, count in Counter(header).items() if count > 1)
        raise SourceError(
            f"manifest {path} has repeated columns; rename them. Received: {repeated}"
        )
    _check_columns(path, header, required)


def _check_columns(where: str, columns: Collection[str], required: Sequence[str]) -> None:
    for name in required:
        if name not in columns:
            similar = [column for column in columns if folded(column) == name]
            hint = f"; rename {similar[0]!r} to {name!r}" if similar else ""
            needed = " and ".join(map(repr, required))
            are = "are" if len(required) > 1 else "is"
            raise SourceError(
                f"manifest {where} has no column {name!r}; {needed} {are} required{hint}. "
                f"Received: {sorted(columns)}"
            )


def _json_lines(
    path: str, text: TextIO, required: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text, start=1):
        if line.strip():
            columns = _json_object(path, number, line.removesuffix("\n"))
            _check_columns(f"{path}, line {number},", columns, required)
            yield number, columns


class _DuplicateKeyError(Exception):
    """A key that occurs twice in a JSON object."""


def _json_object(path: str, number: int, line: str) -> dict[str, str]:
    where = f"manifest {path}, line {number}"
    try:
        value = json.loads(line, object_pairs_hook=_object)
    except _DuplicateKeyError as error:
        raise SourceError(f"{where} has a repeated key; remove one. Received: {error}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where} is not JSON: {error}; write one object per line") from error
    if not isinstance(value, dict):
        raise SourceError(
            f'{where} must be a JSON object, such as {{"uri": ..., "label": ...}}. '
            f"Received: {line[:_VALUE_SHOWN]}"
        )
    return {name: _as_text(path, number, name, found) for name, found in value.items()}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object, but refuses repeated keys, of which Python would keep the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = _normalized(key)
        if name in found:
            raise _DuplicateKeyError(repr(name))
        found[name] = value
    return found


def _as_text(path: str, number: int, name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and _is_unicode(value):
        return value
    if isinstance(value, int | float):  # also bool
        return json.dumps(value)
    raise SourceError(
        f"manifest {path}, line {number}: {name!r} must be Unicode text, a number, true, false or "
        f"null. Received: {json.dumps(value)[:_VALUE_SHOWN]}"
    )


def _is_unicode(text: str) -> bool:
    # JSON can escape half of a surrogate pair, which can't be encoded.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _normalized(text: str) -> str:
    return composed(text).strip()


def _row(path: str, line: int, columns: dict[str, str]) -> Row:
    row = Row(
        line,
        # Not normalized: the file is searched for under each of Unicode's forms.
        uri=columns.get(URI_COLUMN, "").strip(),
        # Most values occur in many rows, and are kept once.
        label=sys.intern(_normalized(columns.get(LABEL_COLUMN, ""))),
        columns={name: sys.intern(_normalized(value)) for name, value in columns.items()},
    )
    for name, value in ((URI_COLUMN, row.uri), (LABEL_COLUMN, row.label)):
        _filled(path, line, name, value)
    return row


def _filled(path: str, line: int, name: str, value: str) -> str:
    if not folded(value):
        raise SourceError(
            f"manifest {path}, line {line}: {name!r} is empty; fill it in or remove the row"
        )
    return value
