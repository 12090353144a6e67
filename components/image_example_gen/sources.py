"""Lists the images of a data source: a folder a class, or a manifest.

Reads names and sizes only, never an image, and imports the standard library only: the
command line calls it to refuse a bad source before the seconds of importing TensorFlow.
"""

import difflib
import hashlib
import json
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from components import names
from components.image_example_gen import files
from components.image_example_gen.contents import Verify, content_digests
from components.image_example_gen.manifest import (
    Row,
    SourceError,
    UnreachableError,
    columns_of,
    read_rows,
)
from components.spelling import composed, folded, spelled_differently

__all__ = [
    "ImageRecord",
    "SourceError",
    "UnreachableError",
    "check_class",
    "class_names",
    "data_version",
    "list_images",
]

_SHOWN = 3
_URI_SHOWN = 200
# Neither a disk nor a store: there is no listing of it, and no way to know a change.
_WEB = frozenset({"http", "https", "ftp", "ftps", "sftp"})

Slices = tuple[tuple[str, str], ...]


class ImageRecord(NamedTuple):
    """An image as the source lists it, not read yet.

    Attributes:
      uri: path relative to the source, with `/` between its parts; where the manifest
        points outside of the source, the path as it stands there.
      path: the path that opens it: absolute, or with its scheme.
      class_name: the class as the user named it, in Unicode's composed form (NFC).
      slices: pairs of slice column and value, in the order asked for; an empty value
        where the manifest has none.
      size: bytes; -1 where the file can't be looked at.
      mtime_ns: time of the last change, in nanoseconds since 1970.
    """

    uri: str
    path: str
    class_name: str
    slices: tuple[tuple[str, str], ...]
    size: int
    mtime_ns: int


def list_images(
    source: str,
    *,
    manifest: str | None = None,
    slices: Sequence[str] = (),
    positive_class: str | None = None,
    known_classes: Collection[str] | None = None,
    passed_over: Counter[str] | None = None,
) -> list[ImageRecord]:
    """The images of a source, sorted by uri and class: the order of a listing has no say.

    Without a manifest each folder of the source is a class, and every file in it, at any
    depth and of any name, is an image of it. Passed over are files directly in the source,
    hidden files, and what operating systems, storage systems and photo programs leave behind
    (`files.leftover`): they are counted in `passed_over`.
    With a manifest its rows are the images. A row given twice counts once; two rows for one
    file may differ in its label, which puts it into quarantine as `label_conflict`, but not in
    a slice column.

    Args:
      source: folder, or the folder that a manifest's relative uris start from.
      manifest: CSV or JSON lines file; sought as given, then in the source. None or '':
        the source has a folder a class.
      slices: manifest columns that become features of the images.
      positive_class: a class that must be there.
      known_classes: refuse every class that is not among these; None takes any.
      passed_over: is filled with how many files and folders were left out, by kind.

    Raises:
      UnreachableError: the source, the manifest or a file that it names can't be found or read.
      SourceError: the source or the manifest has no images or one class
        only, lacks the positive class, has a class, column or file it shouldn't, has a class
        in two spellings, or contradicts itself.
    """
    source = _absolute_folder(source)
    slices = [composed(column) for column in slices]
    _check_slices(slices)
    counted = Counter() if passed_over is None else passed_over
    if manifest:
        records = _from_manifest(source, _absolute_manifest(source, manifest), slices)
    else:
        records = _from_folders(source, slices, counted)
    # The size and time of a file may change between two looks at it.
    unique = {(record.uri, record.class_name, record.path): record for record in records}
    ordered = [unique[key] for key in sorted(unique)]
    _check_classes(source, class_names(ordered), positive_class, known_classes, counted)
    return ordered


def class_names(records: Iterable[ImageRecord]) -> list[str]:
    """The classes of some images, sorted."""
    return sorted({record.class_name for record in records})


def data_version(
    records: Sequence[ImageRecord],
    *,
    verify: Verify = "heads",
    advance: Callable[[], object] = lambda: None,
) -> str:
    """A digest that changes with the images' names, classes, slices, sizes and times of change.

    Args:
      records: the images.
      verify: whether it changes with their contents too, see `contents.Verify`.
      advance: is called once an image.

    Returns:
      64 hex digits.

    Raises:
      SourceError: a bucket's store gives no checksum of a file.
    """
    digest = hashlib.sha256()
    contents = content_digests((record.path for record in records), verify, advance=advance)
    for record, content in zip(records, contents, strict=True):
        # Not the path: a source that is moved as a whole is the same data.
        digest.update(json.dumps([*record._replace(path=""), content]).encode() + b"\n")
    return digest.hexdigest()


def check_class(name: str, classes: Collection[str], *, asked: str) -> None:
    """Refuses a class that is not there.

    Args:
      name: the class asked for.
      classes: those there are.
      asked: where it was asked for, such as "positive_class"; opens the message.

    Raises:
      SourceError: `name` is not among `classes`; the message suggests the nearest.
    """
    if name not in classes:
        raise SourceError(
            f"{asked}: no class {name!r}; the classes are {_quoted(sorted(classes))}"
            f"{_nearest(name, classes)}"
        )


def _nearest(name: str, classes: Collection[str]) -> str:
    folded = {known.casefold(): known for known in classes}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _quoted(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:10])
    return f"{shown} and {len(values) - 10} more" if len(values) > 10 else shown


def _check_classes(
    source: str,
    classes: list[str],
    positive_class: str | None,
    known_classes: Collection[str] | None,
    passed_over: Mapping[str, int],
) -> None:
    if known_classes is not None:
        for name in classes:
            check_class(name, known_classes, asked=f"unknown class in {source}")
    if len(classes) == 1:
        without = f"; {files.account(passed_over)}" if passed_over else ""
        raise SourceError(
            f"{source} has one class only, {classes[0]!r}; at least one more is required to tell "
            f"it from (a folder without images is no class){without}"
        )
    if positive_class:
        check_class(composed(positive_class), classes, asked="positive_class")


def _check_slices(slices: Sequence[str]) -> None:
    for column in slices:
        if column in names.RESERVED_FEATURES or not column:
            raise SourceError(
                f"slices: {column!r} is a name that the pipeline itself uses; rename the "
                f"manifest's column (taken: {sorted(names.RESERVED_FEATURES)})"
            )
    if len(set(slices)) < len(slices):
        raise SourceError(f"slices: {list(slices)} names a column twice; name each once")


def _absolute_folder(source: str) -> str:
    if files.is_remote(source):
        return source.rstrip("/")
    folder = os.path.abspath(source)
    if not os.path.exists(folder):
        raise UnreachableError(
            f"no such folder: {source}; give the folder of the images as data.source"
        )
    if not os.path.isdir(folder):
        raise SourceError(f"{source} is a file, not a folder; unpack it if it is an archive")
    return folder


def _absolute_manifest(source: str, manifest: str) -> str:
    if files.is_remote(manifest):
        return manifest
    in_source = _join(source, manifest)
    if os.path.isfile(manifest) or files.is_remote(in_source):
        return os.path.abspath(manifest) if os.path.isfile(manifest) else in_source
    if not os.path.isfile(in_source):
        raise UnreachableError(f"no such manifest: {manifest}; sought as given and as {in_source}")
    return in_source


def _join(source: str, uri: str) -> str:
    # os.path would take `s3://` for a relative path.
    return uri if files.is_remote(uri) else posixpath.join(source, uri)


def _from_folders(
    source: str, slices: Sequence[str], passed_over: Counter[str]
) -> list[ImageRecord]:
    if slices:
        raise SourceError(
            f"slices: {list(slices)} need a manifest that has these columns; "
            "folders of images have none"
        )
    found = _walk(source, passed_over)
    in_folders = [file for file in found if "/" in file.relative]
    if not found:
        without = f" ({files.account(passed_over)})" if passed_over else ""
        raise SourceError(
            f"no images in {source}: it is empty{without}; put one folder per class there"
        )
    if not in_folders:
        raise SourceError(
            f"{source} has {len(found)} files directly in it, such as "
            f"{min(file.relative for file in found)!r}, and no class folders; "
            "put the images of each class in a folder named after it, or give a manifest"
        )
    if beside := len(found) - len(in_folders):
        passed_over["files beside the class folders"] += beside
    records = [_record(file, file.relative.partition("/")[0], ()) for file in in_folders]
    _check_spelling(records, source, dict.fromkeys(class_names(records), "a folder"))
    return records


def _check_spelling(records: Iterable[ImageRecord], where: str, origins: Mapping[str, str]) -> None:
    """Refuses two classes that are one in two spellings, of which each would get a part."""
    if twins := spelled_differently(record.class_name for record in records):
        named = " and ".join(f"{name!r} ({origins[name]})" for name in twins)
        raise SourceError(
            f"{where} has the classes {named}, which differ in their spelling only; write one of "
            "them throughout, or give them names that differ if they are two classes"
        )


def _walk(source: str, passed_over: Counter[str] | None = None) -> list[files.FoundFile]:
    try:
        return list(files.walk(source, passed_over))
    except OSError as error:
        raise UnreachableError(f"the images of {source} can't be listed: {error}") from error


def _from_manifest(source: str, manifest: str, slices: Sequence[str]) -> list[ImageRecord]:
    rows = read_rows(manifest)
    _check_columns(manifest, columns_of(rows), slices)
    _check_schemes(manifest, source, rows)
    listing = {f.path: f for f in _walk(source)} if files.is_remote(source) else {}
    found = [(row, _find(source, row.uri, listing)) for row in rows]
    _check_found(manifest, source, [row for row, file in found if file is None])
    rows_of = {row.line: file for row, file in found if file}
    _check_agreement(manifest, rows, {line: file.path for line, file in rows_of.items()}, slices)
    records = [_record(rows_of[row.line], row.label, _slices(row, slices)) for row in rows]
    lines = {row.label: f"line {row.line}" for row in reversed(rows)}
    _check_spelling(records, f"manifest {manifest}", lines)
    return records


def _check_columns(manifest: str, columns: Collection[str], slices: Sequence[str]) -> None:
    for column in slices:
        if column not in columns:
            raise SourceError(
                f"slices: manifest {manifest} has no column {column!r}; "
                f"found {_quoted(sorted(columns))}{_nearest(column, columns)}"
            )
        alike = sorted(name for name in columns if folded(name) == folded(column))
        if len(alike) > 1:
            raise SourceError(
                f"slices: manifest {manifest} has the columns {_quoted(alike)}, which differ in "
                "their spelling only; write one of them throughout, or rename one"
            )


def _check_schemes(manifest: str, source: str, rows: Sequence[Row]) -> None:
    by_scheme = defaultdict(list)
    for row in rows:
        by_scheme[files.scheme(files.without_file_scheme(row.uri))].append(row)
    for scheme, found in by_scheme.items():
        if not scheme or (scheme not in (*_WEB, "file") and files.has_file_system(found[0].uri)):
            continue
        advice = (
            "write file:///path, or the path alone"
            if scheme == "file"
            else f"download them to {source} and give their paths, or copy them to s3:// or gs://"
        )
        raise SourceError(
            f"manifest {manifest}: images at {scheme}:// can't be read: {_shown(found)}; {advice}"
        )


def _find(source: str, uri: str, listing: dict[str, files.FoundFile]) -> files.FoundFile | None:
    path = _join(source, files.without_file_scheme(uri))
    if not files.is_remote(path):
        path = os.path.normpath(path)
    # The manifest may have been written on another system than the files.
    for form in dict.fromkeys((path, composed(path), unicodedata.normalize("NFD", path))):
        if file := listing.get(form) or _find_file(form.removeprefix(f"{source}/"), form):
            return file
    return None


def _find_file(relative: str, path: str) -> files.FoundFile | None:
    try:
        return files.find(relative, path)
    except OSError as error:
        raise UnreachableError(f"the manifest's image {path} can't be found: {error}") from error


def _check_found(manifest: str, source: str, missing: Sequence[Row]) -> None:
    if missing:
        raise UnreachableError(
            f"manifest {manifest} names files that do not exist: {_shown(missing)}; "
            f"uris are relative to {source}"
        )


def _shown(rows: Sequence[Row]) -> str:
    shown = ", ".join(f"{row.uri[:_URI_SHOWN]!r} (line {row.line})" for row in rows[:_SHOWN])
    return f"{shown} and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else shown


def _check_agreement(
    manifest: str, rows: Iterable[Row], paths: Mapping[int, str], slices: Sequence[str]
) -> None:
    """Refuses two rows for one file that differ in a slice: nothing says which is right."""
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(paths[row.line], row)
        for column, value in _slices(row, slices):
            if (before := other.columns.get(column, "")) != value:
                raise SourceError(
                    f"manifest {manifest} contradicts itself on {row.uri!r}: {column!r} is "
                    f"{before!r} in line {other.line} and {value!r} in line {row.line}; remove "
                    "or correct one of them"
                )


def _slices(row: Row, columns: Sequence[str]) -> Slices:
    return tuple((column, row.columns.get(column, "")) for column in columns)


def _record(file: files.FoundFile, class_name: str, slices: Slices) -> ImageRecord:
    return ImageRecord(
        uri=_printable(file.relative),
        path=file.path,
        class_name=_printable(composed(class_name)),
        slices=slices,
        size=file.size,
        mtime_ns=file.mtime_ns,
    )


def _printable(name: str) -> str:
    # A file name on Linux is bytes; those that are no UTF-8 are written as \xNN.
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
