"""Lists the images of a data source: one folder per class, or a manifest.

Reads names and sizes only, never an image, and imports the standard library only: the command
line calls it to refuse an invalid source before it imports TensorFlow, which takes seconds.
"""

import difflib
import hashlib
import json
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from components import names
from components.image_example_gen import files
from components.image_example_gen.contents import Verify, content_digests
from components.image_example_gen.image_table import ImageRecord, ImageTable
from components.image_example_gen.manifest import (
    Row,
    SourceError,
    UnreachableError,
    columns_of,
    read_rows,
)
from components.image_example_gen.roots import Roots, outside_text
from components.spelling import composed, folded, spelled_differently

__all__ = [
    "ImageRecord",
    "ImageTable",
    "SourceError",
    "UnreachableError",
    "absolute_folder",
    "absolute_manifest",
    "check_class",
    "check_classes",
    "class_names",
    "data_version",
    "data_versions",
    "list_images",
    "possible_paths",
    "scheme_problem",
    "unchecked_images",
]

_SHOWN = 3
_URI_SHOWN = 200
# These can't be listed, and changes of their files can't be detected.
_WEB = frozenset({"http", "https", "ftp", "ftps", "sftp"})

Slices = tuple[tuple[str, str], ...]


def list_images(
    source: str,
    *,
    manifest: str | None = None,
    slices: Sequence[str] = (),
    roots: Sequence[str] = (),
    positive_class: str | None = None,
    known_classes: Collection[str] | None = None,
    passed_over: Counter[str] | None = None,
) -> ImageTable:
    """Returns the images of a source, sorted by uri and class; the listing's order is ignored.

    Without a manifest each folder of the source is a class, and every file in it, at any
    depth and with any name, is an image of that class. Files directly in the source, hidden
    files, and leftovers of operating systems, storage systems and photo programs
    (`files.leftover`) are passed over and counted in `passed_over`.
    With a manifest its rows are the images. Repeated rows count once; two rows for one file
    may differ in the label, which quarantines the file as `label_conflict`, but not in a slice
    column.

    Args:
      source: folder, or the folder that a manifest's relative uris are relative to.
      manifest: CSV or JSON lines file; searched for as given, then in the source. None or '':
        the source has one folder per class.
      slices: manifest columns that become features of the images.
      roots: folders and URLs besides the source that the manifest and symbolic links may lead to.
      positive_class: a class that must exist.
      known_classes: the only classes that are allowed; None allows any.
      passed_over: filled with the number of files and folders left out, by kind.

    Raises:
      UnreachableError: the source, the manifest or a file that it names can't be found or read.
      SourceError: the source or the manifest has no images or one class only, lacks the
        positive class, leads out of the roots, has a class, column or file that is not allowed,
        has a class in two spellings, or contradicts itself.
    """
    counted = Counter() if passed_over is None else passed_over
    found = unchecked_images(
        source, manifest=manifest, slices=slices, roots=roots, passed_over=counted
    )
    check_classes(source, class_names(found), positive_class, known_classes, counted)
    return found


def unchecked_images(
    source: str,
    *,
    manifest: str | None,
    slices: Sequence[str],
    roots: Sequence[str],
    passed_over: Counter[str],
    rows: Sequence[Row] | None = None,
) -> ImageTable:
    """Returns what `list_images` returns, without checks of the classes.

    Args:
      source: see `list_images`, as the arguments that follow.
      rows: the rows of the manifest to use; None for all.
    """
    source = absolute_folder(source)
    slices = [composed(column) for column in slices]
    _check_slices(slices)
    if manifest:
        path = absolute_manifest(source, manifest)
        found = read_rows(path) if rows is None else rows
        records = _from_manifest(source, path, found, slices, Roots(source, roots))
    else:
        records = _from_folders(source, slices, Roots(source, roots), passed_over)
    # Equal ones may differ in size and time, which may change between two accesses to a file.
    return records.in_order()


def class_names(records: ImageTable) -> list[str]:
    """Returns the classes of the images, sorted."""
    return sorted(records.classes.values)


def data_version(
    records: Sequence[ImageRecord],
    *,
    verify: Verify = "heads",
    advance: Callable[[], object] = lambda: None,
) -> str:
    """Returns a digest of the images' names, classes, slices, sizes, times and checksums.

    Args:
      records: the images.
      verify: what of their contents is included, see `contents.Verify`.
      advance: called once per image.

    Returns:
      64 hex digits.

    Raises:
      SourceError: a bucket's store provides no checksum of a file.
    """
    (version,) = data_versions([records], verify=verify, advance=advance)
    return version


def data_versions(
    parts: Sequence[Sequence[ImageRecord]],
    *,
    verify: Verify,
    advance: Callable[[], object] = lambda: None,
) -> Iterator[str]:
    """Yields the `data_version` of each part of the images."""
    files_of_all = ((each.path, each.checksum) for records in parts for each in records)
    contents = content_digests(files_of_all, verify, advance=advance)
    for records in parts:
        digest = hashlib.sha256()
        for record in records:
            # Without the path: a source that is moved as a whole is the same data.
            fields = [*record._replace(path=""), next(contents)]
            digest.update(json.dumps(fields).encode() + b"\n")
        yield digest.hexdigest()


def check_class(name: str, classes: Collection[str], *, parameter: str) -> None:
    """Refuses a class that does not exist.

    Args:
      name: the class.
      classes: the existing classes.
      parameter: what has the value `name`, such as "positive_class"; starts the message.

    Raises:
      SourceError: `name` is not in `classes`; the message suggests the nearest.
    """
    if name not in classes:
        raise SourceError(
            f"{parameter} must be one of {_quoted(sorted(classes))}{_suggestion(name, classes)} "
            f"Received: {name!r}"
        )


def _suggestion(name: str, known: Collection[str]) -> str:
    """Returns the end of a sentence, which suggests the nearest known name if one is close."""
    folded = {known_name.casefold(): known_name for known_name in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[close[0]]!r}?" if close else "."


def _quoted(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:10])
    return f"{shown} and {len(values) - 10} more" if len(values) > 10 else shown


def check_classes(
    source: str,
    classes: list[str],
    positive_class: str | None,
    known_classes: Collection[str] | None,
    passed_over: Mapping[str, int],
) -> None:
    """Refuses a single class, a class that is not known, and a missing positive class.

    Args:
      source: the source, for the message.
      classes: the classes of the images, sorted.
      positive_class: see `list_images`, as the arguments that follow.

    Raises:
      SourceError: see `list_images`.
    """
    if known_classes is not None:
        check_known_classes(f"in {source}", classes, known_classes)
    if len(classes) == 1:
        note = f"; {files.passed_over_text(passed_over)}" if passed_over else ""
        raise SourceError(
            f"{source} must have at least two classes; a folder without images is no class{note}. "
            f"Received: {classes[0]!r} only"
        )
    if positive_class:
        check_class(composed(positive_class), classes, parameter="positive_class")


def check_known_classes(where: str, found: Iterable[str], known: Collection[str]) -> None:
    """Refuses a class that `population.prevalence` does not name.

    Args:
      where: such as "in photos", for the message.
      found: the classes of the images.
      known: the classes with a share.

    Raises:
      SourceError: a class is not known.
    """
    for name in found:
        parameter = f"population.prevalence names every class, so each {where}"
        check_class(name, known, parameter=parameter)


def _check_slices(slices: Sequence[str]) -> None:
    for column in slices:
        if column in names.RESERVED_FEATURES or not column:
            raise SourceError(
                "slices must not be empty or a name that the pipeline uses, one of "
                f"{sorted(names.RESERVED_FEATURES)}; rename the manifest's column. "
                f"Received: {column!r}"
            )
    if len(set(slices)) < len(slices):
        raise SourceError(f"slices must name each column once. Received: {list(slices)}")


def absolute_folder(source: str) -> str:
    """Returns the absolute path or URL of a source.

    Args:
      source: as given by the user.

    Raises:
      UnreachableError: it does not exist.
      SourceError: it is a file.
    """
    if files.is_remote(source):
        return source.rstrip("/")
    folder = os.path.abspath(source)
    if not os.path.exists(folder):
        raise UnreachableError(
            f"data.source does not exist; give the folder of the images. Received: {source}"
        )
    if not os.path.isdir(folder):
        raise SourceError(
            "data.source must be a folder; unpack it if it is an archive. "
            f"Received: the file {source}"
        )
    return folder


def absolute_manifest(source: str, manifest: str) -> str:
    """Returns the path of a manifest, which is searched for as given, then in the source.

    Args:
      source: absolute path or URL.
      manifest: as given by the user.

    Raises:
      UnreachableError: it is in neither place.
    """
    if files.is_remote(manifest):
        return manifest
    in_source = _join(source, manifest)
    if os.path.isfile(manifest) or files.is_remote(in_source):
        return os.path.abspath(manifest) if os.path.isfile(manifest) else in_source
    if not os.path.isfile(in_source):
        raise UnreachableError(
            f"the manifest does not exist, neither as given nor as {in_source}. "
            f"Received: {manifest}"
        )
    return in_source


def _join(source: str, uri: str) -> str:
    # posixpath.join would treat `s3://` as a relative path.
    return uri if files.is_remote(uri) else posixpath.join(source, uri)


def _from_folders(
    source: str, slices: Sequence[str], roots: Roots, passed_over: Counter[str]
) -> ImageTable:
    if slices:
        raise SourceError(
            "slices require a manifest with these columns, which folders of images don't have. "
            f"Received: {list(slices)}"
        )
    records, outside = ImageTable(), []
    for file in _walk(source, roots, passed_over):
        class_name, slash, _ = file.relative.partition("/")
        if slash:
            records.append(_record(file, class_name, ()))
        else:
            outside.append(file.relative)
    if not records:
        raise SourceError(_without_class_folders(source, outside, passed_over))
    if outside:
        passed_over["files beside the class folders"] += len(outside)
    _check_spelling(records, source, dict.fromkeys(class_names(records), "a folder"))
    return records


def _without_class_folders(
    source: str, outside: Sequence[str], passed_over: Mapping[str, int]
) -> str:
    if not outside:
        note = f" ({files.passed_over_text(passed_over)})" if passed_over else ""
        return (
            f"no images found: the source is empty{note}; put one folder per class there. "
            f"Received: {source}"
        )
    return (
        f"{source} has no class folders; put the images of each class in a folder named after "
        f"it, or give a manifest. Received: {len(outside)} files directly in it, such as "
        f"{min(outside)!r}"
    )


def _check_spelling(records: ImageTable, where: str, origins: Mapping[str, str]) -> None:
    """Refuses one class in two spellings, between which its images would be split."""
    if spellings := spelled_differently(records.classes.values):
        found = " and ".join(f"{name!r} ({origins[name]})" for name in spellings)
        raise SourceError(
            f"{where} has two classes that differ only in spelling; use one spelling throughout, "
            f"or clearly different names if they are two classes. Received: {found}"
        )


def _walk(
    source: str, roots: Roots, passed_over: Counter[str] | None = None
) -> Iterator[files.FoundFile]:
    try:
        yield from files.walk(source, passed_over, roots.check_link)
    except OSError as error:
        raise UnreachableError(f"cannot list the images of {source}: {error}") from error


def _from_manifest(
    source: str, manifest: str, rows: Sequence[Row], slices: Sequence[str], roots: Roots
) -> ImageTable:
    _check_columns(manifest, columns_of(rows), slices)
    _check_values(manifest, rows, slices)
    _check_schemes(manifest, source, rows)
    _check_roots(manifest, source, rows, roots)
    listing = {f.path: f for f in _walk(source, roots)} if files.is_remote(source) else {}
    records, missing = ImageTable(), []
    for row in rows:
        if file := _find(source, possible_paths(source, row.uri), listing):
            records.append(_record(file, row.label, _slices(row, slices)))
        else:
            missing.append(row)
    _check_found(manifest, source, missing)
    _check_agreement(manifest, rows, records, slices)
    lines = {row.label: f"line {row.line}" for row in reversed(rows)}
    _check_spelling(records, f"manifest {manifest}", lines)
    return records


def _check_columns(manifest: str, columns: Collection[str], slices: Sequence[str]) -> None:
    for column in slices:
        if column not in columns:
            raise SourceError(
                f"slices must be columns of the manifest {manifest}, which has "
                f"{_quoted(sorted(columns))}{_suggestion(column, columns)} Received: {column!r}"
            )
        similar = sorted(name for name in columns if folded(name) == folded(column))
        if len(similar) > 1:
            raise SourceError(
                f"slices: manifest {manifest} has columns that differ only in spelling; use one "
                f"spelling throughout, or rename one. Received: {_quoted(similar)}"
            )


def _check_values(manifest: str, rows: Sequence[Row], slices: Sequence[str]) -> None:
    """Refuses a slice column without a value: a column of another data set, or never filled in."""
    for column in slices:
        if not any(row.columns.get(column) for row in rows):
            found = {name for row in rows for name, value in row.columns.items() if value}
            filled = sorted(found - names.RESERVED_FEATURES)
            others = f"; columns with values: {_quoted(filled)}" if filled else ""
            raise SourceError(
                f"slices: no image of the manifest {manifest} has a value in the column; fill it "
                f"in, or leave it out of data.slices{others}. Received: {column!r}"
            )


def _check_schemes(manifest: str, source: str, rows: Sequence[Row]) -> None:
    by_scheme = defaultdict(list)
    for row in rows:
        by_scheme[files.scheme(files.without_file_scheme(row.uri))].append(row)
    for found in by_scheme.values():
        if problem := scheme_problem(found[0].uri, source):
            raise SourceError(f"manifest {manifest}: {problem}. Received: {_shown(found)}")


def scheme_problem(uri: str, source: str) -> str:
    """Returns why the scheme of a manifest's uri can't be read, and what to do; empty if it can.

    Args:
      uri: the uri.
      source: the folder that the manifest's uris are relative to.
    """
    scheme = files.scheme(files.without_file_scheme(uri))
    if not scheme or (scheme not in (*_WEB, "file") and files.has_file_system(uri)):
        return ""
    advice = (
        "write file:///path, or only the path"
        if scheme == "file"
        else f"download them to {source} and use their paths, or copy them to s3:// or gs://"
    )
    return f"images at {scheme}:// can't be read; {advice}"


def possible_paths(source: str, uri: str) -> list[str]:
    """Returns the paths at which a manifest's image may be, in each of Unicode's forms.

    Args:
      source: the folder that the uri is relative to.
      uri: the uri.
    """
    path = _join(source, files.without_file_scheme(uri))
    if not files.is_remote(path):
        path = os.path.normpath(path)
    # The manifest may have been written on another operating system than the files.
    return list(dict.fromkeys((path, composed(path), unicodedata.normalize("NFD", path))))


def _check_roots(manifest: str, source: str, rows: Sequence[Row], roots: Roots) -> None:
    """Refuses rows that lead out of the roots, before any file is looked up."""
    outside = [row for row in rows if not all(map(roots.contains, possible_paths(source, row.uri)))]
    if outside:
        raise SourceError(
            f"manifest {manifest} leads out of the source; move the files there, or add their "
            f"folder or bucket to data.roots: "
            f"{outside_text(roots, possible_paths(source, outside[0].uri))}. "
            f"Received: {_shown(outside)}"
        )


def _find(
    source: str, paths: Sequence[str], listing: Mapping[str, files.FoundFile]
) -> files.FoundFile | None:
    for path in paths:
        if file := listing.get(path) or _find_file(path.removeprefix(f"{source}/"), path):
            return file
    return None


def _find_file(relative: str, path: str) -> files.FoundFile | None:
    try:
        return files.find(relative, path)
    except OSError as error:
        raise UnreachableError(f"cannot find the manifest's image {path}: {error}") from error


def _check_found(manifest: str, source: str, missing: Sequence[Row]) -> None:
    if missing:
        raise UnreachableError(
            f"manifest {manifest} names files that do not exist; uris are relative to {source}. "
            f"Received: {_shown(missing)}"
        )


def _shown(rows: Sequence[Row]) -> str:
    shown = ", ".join(f"{row.uri[:_URI_SHOWN]!r} (line {row.line})" for row in rows[:_SHOWN])
    return f"{shown} and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else shown


def _check_agreement(
    manifest: str, rows: Sequence[Row], records: ImageTable, slices: Sequence[str]
) -> None:
    """Refuses two rows for one file that differ in a slice, since either may be right.

    Args:
      manifest: for the message.
      rows: of the manifest.
      records: the image of each row.
      slices: the slice columns.
    """
    if not slices:
        return
    first: dict[str, Row] = {}
    for row, record in zip(rows, records, strict=True):
        other = first.setdefault(record.path, row)
        for column, value in record.slices:
            if (before := other.columns.get(column, "")) != value:
                raise SourceError(
                    f"manifest {manifest} has two values of {column!r} for {row.uri!r}; remove or "
                    f"correct one of them. Received: {before!r} in line {other.line} and "
                    f"{value!r} in line {row.line}"
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
        checksum=file.checksum,
    )


def _printable(name: str) -> str:
    # File names on Linux are bytes; those that are not UTF-8 are written as \xNN.
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
