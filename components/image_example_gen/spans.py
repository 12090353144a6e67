"""Data spans: the parts in which data arrives, named by a number or a date, and which a run takes.

A span is what a source or manifest with the placeholder `{SPAN}` becomes with the span's name in
its place. Imports the standard library only.
"""

import datetime
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from components.image_example_gen import files
from components.image_example_gen.manifest import SourceError, UnreachableError

PLACEHOLDER = "{SPAN}"

NEWEST = "newest"
ALL = "all"
WINDOWS = (NEWEST, ALL)
"""Windows that have a name."""

WHAT_A_SPAN_IS = "a whole number such as 7, or a date such as 2026-11-27"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SHOWN = 5


class Span(NamedTuple):
    """A span. Spans of one kind are ordered from old to new.

    Attributes:
      position: the number, or the date's ordinal.
      is_date: whether it is a date.
      name: as written in the path.
    """

    position: int
    is_date: bool
    name: str


@dataclass(frozen=True)
class Window:
    """The spans that a run takes, counted back from the newest one to include.

    Attributes:
      count: the newest so many; None for no limit.
      first: the oldest span to take; None for no limit.
      last: the newest span to take; None for no limit.
    """

    count: int | None = None
    first: Span | None = None
    last: Span | None = None


def parse(name: str, *, what: str = "a span") -> Span:
    """Returns the span with a name.

    Args:
      name: a whole number or a date.
      what: what the name is given for, which starts the message.

    Raises:
      SourceError: it is neither.
    """
    if _NUMBER.fullmatch(name):
        return Span(int(name), False, name)
    if _DATE.fullmatch(name):
        try:
            return Span(datetime.date.fromisoformat(name).toordinal(), True, name)
        except ValueError:
            pass
    raise SourceError(f"{what} must be {WHAT_A_SPAN_IS}. Received: {name!r}")


def parse_window(given: Any) -> Window:
    """Returns the window of a setting.

    Args:
      given: `newest`, `all`, a whole number above 0, or a mapping with `first`, `last` or both.

    Raises:
      SourceError: it is none of these, or the range is empty or mixes numbers and dates.
    """
    if given == NEWEST:
        return Window(count=1)
    if given == ALL:
        return Window()
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return Window(count=given)
    if isinstance(given, Mapping) and given and not set(given) - {"first", "last"}:
        return _range(given)
    raise SourceError(
        "data.window must be newest, all, a number of spans of 1 or more, or a range such as "
        f"{{first: 3, last: 7}}. Received: {given!r}"
    )


def _range(given: Mapping[str, Any]) -> Window:
    first, last = (
        parse(str(given[key]), what=f"data.window.{key}") if given.get(key) is not None else None
        for key in ("first", "last")
    )
    if first and last and first.is_date != last.is_date:
        raise SourceError(
            "data.window must have two numbers or two dates. "
            f"Received: {first.name!r} and {last.name!r}"
        )
    if first and last and first.position > last.position:
        raise SourceError(
            "data.window: first must not be after last. "
            f"Received: first {first.name}, last {last.name}"
        )
    return Window(first=first, last=last)


def has_spans(*paths: str | None) -> bool:
    """Returns whether one of the paths has the placeholder."""
    return any(PLACEHOLDER in path for path in paths if path)


def filled(path: str, span: Span) -> str:
    """Returns a path with the name of a span in the placeholder's place."""
    return path.replace(PLACEHOLDER, span.name)


def listed(template: str, *, of_files: bool = False) -> list[Span]:
    """Returns the spans of a folder or bucket, oldest first.

    Args:
      template: path whose component with the placeholder is looked up in its folder, such as
        `photos/day-{SPAN}/images` in `photos`. Names that don't begin and end as the component
        does, and leftovers of storage systems, are ignored.
      of_files: whether the template is the path of a file, not of a folder.

    Raises:
      UnreachableError: the folder can't be listed, or has no span.
      SourceError: a name has the component's pattern with neither a number nor a date, one span
        is there twice, or there are both numbers and dates.
    """
    parent, _, is_folder = _split(template, of_files=of_files)
    matched = _matched(template, of_files=of_files)
    if not matched:
        names = _names(parent, is_folder=is_folder)
        raise UnreachableError(
            f"{template} has no span; put each into {'a folder' if is_folder else 'a file'} named "
            f"by {WHAT_A_SPAN_IS}, in {parent}. Received: {_some(names) or 'nothing'}"
        )
    spans = [
        parse(text, what=f"{template}: what {name!r} in {parent} has for {PLACEHOLDER}")
        for name, text in matched.items()
    ]
    return in_order(spans, where=parent)


def in_order(spans: Iterable[Span], *, where: str) -> list[Span]:
    """Returns spans sorted from old to new.

    Args:
      spans: in any order.
      where: they are, for the message.

    Raises:
      SourceError: one span is written in two ways, or there are both numbers and dates.
    """
    ordered = sorted(spans)
    if len({span.is_date for span in ordered}) > 1:
        shown = " and ".join(
            repr(next(span.name for span in ordered if span.is_date == kind))
            for kind in (False, True)
        )
        raise SourceError(
            f"{where} must have numbers or dates as spans, not both. Received: {shown}"
        )
    written: defaultdict[int, list[str]] = defaultdict(list)
    for span in ordered:
        written[span.position].append(span.name)
    for names in written.values():
        if len(names) > 1:
            raise SourceError(
                f"{where} must have each span once; merge or rename one. "
                f"Received: {' and '.join(map(repr, names))}"
            )
    return ordered


def chosen(
    spans: Sequence[Span], window: Window, *, newest: str = "", allow_gaps: bool = False
) -> list[Span]:
    """Returns the spans that a run takes, oldest first.

    Args:
      spans: all there are, oldest first; at least one.
      window: which of them.
      newest: the newest span to include; empty: the newest there is.
      allow_gaps: whether a number may be missing between two that are taken.

    Raises:
      SourceError: the newest span to include does not exist, no span is in the window, or a
        number is missing.
    """
    end = _existing(spans, newest) if newest else spans[-1]
    for bound in (window.first, window.last):
        if bound and bound.is_date != end.is_date:
            raise SourceError(
                f"data.window must have {'dates' if end.is_date else 'numbers'}, as the spans. "
                f"Received: {bound.name!r}"
            )
    low = window.first.position if window.first else spans[0].position
    high = min(end.position, window.last.position if window.last else end.position)
    inside = [span for span in spans if low <= span.position <= high]
    if not inside:
        raise SourceError(
            f"no span is in data.window; there are {_some([span.name for span in spans])}. "
            f"Received: {_described(window)}{f', up to span {newest}' if newest else ''}"
        )
    taken = inside[-window.count :] if window.count else inside
    if not allow_gaps and not end.is_date:
        _check_gaps(taken, window, end)
    return taken


def _existing(spans: Sequence[Span], newest: str) -> Span:
    asked = parse(newest, what="span")
    for span in spans:
        if (span.position, span.is_date) == (asked.position, asked.is_date):
            return span
    names = [span.name for span in spans]
    alike = [span for span in spans if span.is_date == asked.is_date]
    near = min(alike, key=lambda span: abs(span.position - asked.position), default=None)
    hint = f"; the nearest is {near.name}" if near else ""
    raise UnreachableError(
        f"span {newest} does not exist; there are {_some(names)}{hint}. Received: {newest!r}"
    )


def _check_gaps(taken: Sequence[Span], window: Window, end: Span) -> None:
    numbers = [span.position for span in taken]
    if window.first:
        numbers.insert(0, window.first.position - 1)
    if window.last:
        numbers.append(min(window.last.position, end.position) + 1)
    for before, after in pairwise(numbers):
        if after > before + 1:
            missing = str(before + 1) if after == before + 2 else f"{before + 1} to {after - 1}"
            raise SourceError(
                f"a span is missing: {missing}; add it, choose another data.window, or set "
                f"data.allow_gaps to true. Received: {_some([span.name for span in taken])}"
            )


def _described(window: Window) -> str:
    bounds = {"first": window.first, "last": window.last}
    return ", ".join(f"{name} {span.name}" for name, span in bounds.items() if span) or "all"


def _some(names: Sequence[str]) -> str:
    """Returns the first and the last names of a list."""
    if len(names) <= 2 * _SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:_SHOWN])} … {', '.join(names[-_SHOWN:])}"


def are_found(template: str) -> bool:
    """Returns whether there are files of a template's pattern."""
    try:
        return bool(_matched(template, of_files=True))
    except UnreachableError:
        return False


def root(template: str) -> str:
    """Returns the folder that has the component with the placeholder."""
    return _split(template)[0]


def absolute(template: str) -> str:
    """Returns the absolute path or URL of a template, without a slash at its end."""
    return template.rstrip("/") if files.is_remote(template) else os.path.abspath(template)


def _split(template: str, *, of_files: bool = False) -> tuple[str, str, bool]:
    """Returns the folder, the component with the placeholder, and whether it is a folder."""
    path = absolute(template)
    head, _, tail = path.partition(PLACEHOLDER)
    parent, _, before = head.rpartition("/")
    after, slash, _ = tail.partition("/")
    if PLACEHOLDER in after:
        raise SourceError(
            f"{PLACEHOLDER} must be at most once in the name of a folder or file. "
            f"Received: {template!r}"
        )
    if files.is_remote(path) and parent.endswith(("/", ":")):
        raise SourceError(
            f"{PLACEHOLDER} must not be in the name of a bucket. Received: {template!r}"
        )
    name = f"{before}{PLACEHOLDER}{after}"
    return parent or "/", name, bool(slash) or not of_files


def _matched(template: str, *, of_files: bool) -> dict[str, str]:
    """Returns what each name of the pattern has in the placeholder's place."""
    parent, component, is_folder = _split(template, of_files=of_files)
    before, _, after = component.partition(PLACEHOLDER)
    pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)
    found = _names(parent, is_folder=is_folder)
    return {name: match[1] for name in found if (match := pattern.fullmatch(name))}


def _names(parent: str, *, is_folder: bool) -> list[str]:
    """Returns the names of the folders, or of the files, in a folder or bucket."""
    try:
        found = files.children(parent, folders=is_folder)
    except OSError as error:
        raise UnreachableError(f"cannot list the spans in {parent}: {error}") from error
    return sorted(name for name in found if not files.leftover(name, is_folder=is_folder))
