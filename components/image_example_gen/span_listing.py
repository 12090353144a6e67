"""Lists the images of the spans that a run takes, or of a source without spans.

The spans are the folders, or the manifests, whose names have the span's where the path has
`{SPAN}`; or the values of a column of one manifest that grows. Reads names and sizes only. Imports
the standard library only, as `sources` does.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from components import names
from components.image_example_gen import files, sources, spans
from components.image_example_gen.manifest import (
    Row,
    SourceError,
    UnreachableError,
    columns_of,
    read_rows,
)
from components.image_example_gen.sources import ImageRecord, ImageTable
from components.image_example_gen.spans import Span, Window
from components.spelling import composed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which images a run reads.

    Attributes:
      source: folder or URL, see `sources.list_images`; may have `{SPAN}`.
      manifest: see `sources.list_images`; may have `{SPAN}`. None or '' for none.
      slices: columns of the manifest that become features.
      roots: see `sources.list_images`; may have `{SPAN}`.
      positive_class: a class that must exist.
      classes: the only classes that are allowed; None allows any.
      span: the newest span to take; empty: the newest there is.
      window: which spans up to this one.
      span_column: column of the manifest with the span of each row; empty: there is none.
      allow_gaps: whether a number may be missing among the spans.
    """

    source: str
    positive_class: str
    manifest: str | None = None
    slices: Sequence[str] = ()
    roots: Sequence[str] = ()
    classes: Collection[str] | None = None
    span: str = ""
    window: Window = field(default_factory=lambda: spans.parse_window(spans.NEWEST))
    span_column: str = ""
    allow_gaps: bool = False

    @property
    def has_spans(self) -> bool:
        """Whether the source consists of spans."""
        return spans.has_spans(self.source, self.manifest) or bool(self.span_column)


class SpanImages(NamedTuple):
    """The images of a span.

    Attributes:
      name: of the span; empty if the source has no spans.
      records: its images, sorted by uri and class.
    """

    name: str
    records: ImageTable


_Unlisted = tuple[Span, Callable[[], ImageTable]]
"""A span, and what lists its images."""


def list_spans(asked: Asked, passed_over: Counter[str] | None = None) -> list[SpanImages]:
    """Returns the images of each span, the oldest span first; a source without spans has one.

    Args:
      asked: which images.
      passed_over: filled with the number of files and folders left out, by kind.

    Raises:
      UnreachableError: a span, or anything that `sources.list_images` needs, can't be found or
        read.
      SourceError: see `sources.list_images`; or a span is missing, empty or not of the pattern,
        has a class that no earlier one has, or contradicts an earlier one.
    """
    counted = Counter() if passed_over is None else passed_over
    _check_request(asked)
    if asked.has_spans:
        found = _in_spans(asked, counted)
    else:
        found = [SpanImages("", _listed(asked, counted))]
    if asked.has_spans and asked.classes is not None:
        for span in found:
            in_span = sources.class_names(span.records)
            sources.check_known_classes(f"in span {span.name}", in_span, asked.classes)
    together = sorted({name for span in found for name in span.records.classes.values})
    sources.check_classes(asked.source, together, asked.positive_class, asked.classes, counted)
    if asked.classes is None:
        _check_new_classes(found, asked.positive_class)
    _check_agreement(found)
    return found


def list_again(asked: Asked, wanted: Collection[str]) -> list[SpanImages]:
    """Returns the images that some spans have now; a span that is gone is missing.

    Args:
      asked: as it was when the spans were listed.
      wanted: their names.

    Raises:
      SourceError: see `list_spans`; the classes are not checked.
    """
    return _in_spans(asked, Counter(), set(wanted))


def records_of(found: Sequence[SpanImages]) -> ImageTable:
    """Returns the images of all spans, the oldest span's first."""
    if len(found) == 1:
        return found[0].records
    return ImageTable(record for span in found for record in span.records)


def _check_request(asked: Asked) -> None:
    if asked.span and not asked.has_spans:
        raise SourceError(
            f"a span requires {spans.PLACEHOLDER} in data.source or data.manifest, or "
            f"data.span_column. Received: {asked.span!r} for {asked.source}"
        )
    if not asked.span_column:
        if asked.has_spans and names.SPAN in map(composed, asked.slices):
            raise SourceError(
                f"slices must not have {names.SPAN!r} with {spans.PLACEHOLDER}, whose spans have "
                f"this name already. Received: {list(asked.slices)}"
            )
        return
    if not asked.manifest:
        raise SourceError(
            f"data.span_column requires data.manifest. Received: {asked.span_column!r}"
        )
    if spans.has_spans(asked.source, asked.manifest):
        raise SourceError(
            f"data.source and data.manifest must not have {spans.PLACEHOLDER} with "
            f"data.span_column; use one of both. Received: {asked.span_column!r}"
        )


def _in_spans(
    asked: Asked, passed_over: Counter[str], wanted: Collection[str] | None = None
) -> list[SpanImages]:
    """Returns the images of each span to take; of all, or of those that are wanted."""
    unlisted = (_in_manifest if asked.span_column else _in_folders)(asked, passed_over)
    return [
        SpanImages(span.name, list_images())
        for span, list_images in unlisted
        if wanted is None or span.name in wanted
    ]


def _in_folders(asked: Asked, passed_over: Counter[str]) -> Iterator[_Unlisted]:
    is_source = spans.has_spans(asked.source)
    template = asked.source if is_source else _manifest_template(asked)
    for span in _spans_of(asked, template, of_files=not is_source):
        below = _below_root(template, span) if is_source else ""
        yield span, partial(_of_span, asked, passed_over, span, below=below)


def _in_manifest(asked: Asked, passed_over: Counter[str]) -> Iterator[_Unlisted]:
    assert asked.manifest
    path = sources.absolute_manifest(sources.absolute_folder(asked.source), asked.manifest)
    rows = read_rows(path)
    column = composed(asked.span_column)
    if column not in (columns := columns_of(rows)):
        raise SourceError(
            f"data.span_column must be a column of the manifest {path}, which has "
            f"{', '.join(sorted(columns))}. Received: {column!r}"
        )
    of_span: defaultdict[Span, list[Row]] = defaultdict(list)
    for row in rows:
        what = f"manifest {path}, line {row.line}: {column!r}"
        of_span[spans.parse(row.columns.get(column, ""), what=what)].append(row)
    for span in _chosen(asked, spans.in_order(of_span, where=f"manifest {path}")):
        yield span, partial(_of_span, asked, passed_over, span, rows=of_span[span])


def _spans_of(asked: Asked, template: str, *, of_files: bool) -> list[Span]:
    """Returns the spans to take; the others are not looked for if one alone is asked for."""
    if asked.span and asked.window == Window(count=1):
        span = spans.parse(asked.span)
        try:
            if files.exists(spans.filled(template, span)):
                return [span]
        except OSError as error:
            raise UnreachableError(f"span {span.name} can't be looked for: {error}") from error
    return _chosen(asked, spans.listed(template, of_files=of_files))


def _chosen(asked: Asked, found: Sequence[Span]) -> list[Span]:
    return spans.chosen(found, asked.window, newest=asked.span, allow_gaps=asked.allow_gaps)


def _listed(
    asked: Asked,
    passed_over: Counter[str],
    span: Span | None = None,
    rows: Sequence[Row] | None = None,
) -> ImageTable:
    source, manifest, *roots = (
        spans.filled(path, span) if span else path
        for path in (asked.source, asked.manifest or "", *asked.roots)
    )
    return sources.unchecked_images(
        source,
        manifest=manifest,
        slices=asked.slices,
        roots=roots,
        passed_over=passed_over,
        rows=rows,
    )


def _manifest_template(asked: Asked) -> str:
    """Returns the manifest's path, in the source if it is not found as given."""
    assert asked.manifest
    if files.is_remote(asked.manifest) or spans.are_found(asked.manifest):
        return asked.manifest
    return posixpath.join(asked.source, asked.manifest)


def _below_root(template: str, span: Span) -> str:
    """Returns the path of a span's folder, relative to the folder that has all spans."""
    path = spans.filled(spans.absolute(template), span)
    return path.removeprefix(spans.root(template)).strip("/") + "/"


def _of_span(
    asked: Asked,
    passed_over: Counter[str],
    span: Span,
    *,
    below: str = "",
    rows: Sequence[Row] | None = None,
) -> ImageTable:
    """Lists the images of a span; `below` is its folder, relative to that of all spans."""
    found = _listed(asked, passed_over, span, rows)
    return ImageTable(_named(record, span, below) for record in found)


def _named(record: ImageRecord, span: Span, below: str) -> ImageRecord:
    # Two spans may have the same names; a path outside of the source is complete already.
    is_inside = not files.is_remote(record.uri) and not record.uri.startswith("/")
    return record._replace(uri=f"{below if is_inside else ''}{record.uri}", span=span.name)


def _check_new_classes(found: Sequence[SpanImages], positive_class: str) -> None:
    """Refuses a class that only a later span has, such as a folder with a misspelled name."""
    known = {composed(positive_class), *sources.class_names(found[0].records)}
    for span in found[1:]:
        new = [name for name in sources.class_names(span.records) if name not in known]
        # A first span may lack the rare class, and so be of one class only.
        if new and len(known) > 1:
            sources.check_class(
                new[0],
                known,
                parameter=(
                    f"each class of span {span.name}, unless population.prevalence names it, "
                    "as the classes of the earlier spans,"
                ),
            )
        known.update(new)


def _check_agreement(found: Sequence[SpanImages]) -> None:
    """Refuses an image that two spans list with another class or slice: either may be right."""
    if len(found) == 1:
        return
    records = records_of(found)
    first: dict[str, int] = {}
    for row, record in enumerate(records):
        other = records[first.setdefault(record.path, row)]
        if other.span == record.span:
            continue
        for what, before, now in (
            ("labels", other.class_name, record.class_name),
            ("values of slice columns", dict(other.slices), dict(record.slices)),
        ):
            if before != now:
                raise SourceError(
                    f"spans {other.span} and {record.span} have two {what} for {record.uri!r}; "
                    f"correct one of them. Received: {before!r} in {other.span} and {now!r} in "
                    f"{record.span}"
                )
