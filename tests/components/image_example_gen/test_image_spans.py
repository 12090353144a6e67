"""Which spans there are, and which of them a run takes."""

import re

import pytest

from components.image_example_gen import spans
from components.image_example_gen.sources import SourceError, UnreachableError
from components.image_example_gen.spans import chosen, listed, parse, parse_window


def folders(root, *names: str) -> str:
    for name in names:
        (root / name).mkdir(parents=True)
    return str(root / "{SPAN}")


def taken(names, window="newest", **options) -> list[str]:
    found = spans.in_order(map(parse, names), where="photos")
    return [span.name for span in chosen(found, parse_window(window), **options)]


def test_spans_are_ordered_as_numbers_and_as_dates(tmp_path):
    numbers = folders(tmp_path / "a", "10", "9", "007")
    dates = folders(tmp_path / "b", "2026-11-27", "2025-12-01", "2026-02-28")
    assert [span.name for span in listed(numbers)] == ["007", "9", "10"]
    assert [span.name for span in listed(dates)] == ["2025-12-01", "2026-02-28", "2026-11-27"]


def test_a_part_of_a_name_may_be_the_span_and_other_names_are_ignored(tmp_path):
    folders(tmp_path, "day-7/images", "day-8/images", "notes", "@eaDir", ".git")
    (tmp_path / "day-9").write_text("a file is no span")
    template = f"{tmp_path}/day-{{SPAN}}/images"
    assert [span.name for span in listed(template)] == ["7", "8"]
    assert spans.root(template) == str(tmp_path)
    (tmp_path / "rows-3.csv").touch()
    assert [span.name for span in listed(f"{tmp_path}/rows-{{SPAN}}.csv", of_files=True)] == ["3"]


@pytest.mark.parametrize(
    ("window", "options", "expected"),
    [
        ("newest", {}, "5"),
        ("all", {}, "1 2 3 4 5"),
        (2, {}, "4 5"),
        (9, {}, "1 2 3 4 5"),
        ({"first": 2, "last": 4}, {}, "2 3 4"),
        ({"first": 4}, {}, "4 5"),
        ({"last": 2}, {}, "1 2"),
        ("newest", {"newest": "3"}, "3"),
        ("all", {"newest": "3"}, "1 2 3"),
        (2, {"newest": "3"}, "2 3"),
        ({"first": 2}, {"newest": "03"}, "2 3"),
    ],
)
def test_a_window_is_counted_back_from_the_newest_span_to_take(window, options, expected):
    assert taken("12345", window, **options) == expected.split()


def test_dates_may_have_gaps_and_numbers_only_if_they_are_allowed():
    assert taken(["2026-11-27", "2026-11-20"], "all") == ["2026-11-20", "2026-11-27"]
    assert taken("1245", 2) == ["4", "5"]
    for window, missing in (("all", "3"), (3, "3"), ({"first": 3}, "3"), ({"first": 0}, "0")):
        with pytest.raises(SourceError, match=f"a span is missing: {missing}; .*allow_gaps"):
            taken("1245", window)
    with pytest.raises(SourceError, match="a span is missing: 2 to 4; "):
        taken("156", "all")
    assert taken("1245", "all", allow_gaps=True) == list("1245")


@pytest.mark.parametrize(
    ("names", "window", "options", "message"),
    [
        (
            "123",
            "newest",
            {"newest": "7"},
            r"span 7 does not exist; there are 1, 2, 3; the nearest is 3\.",
        ),
        ("123", "newest", {"newest": "x"}, "span must be a whole number such as 7, or a date"),
        ("12", {"first": 5}, {}, r"no span is in data.window; there are 1, 2\. Received: first 5"),
        ("12", {"first": "2026-01-01"}, {}, "data.window must have numbers, as the spans"),
    ],
)
def test_spans_that_do_not_exist_are_refused(names, window, options, message):
    with pytest.raises(SourceError, match=message):
        taken(names, window, **options)


def test_the_nearest_span_is_named():
    with pytest.raises(UnreachableError, match=r"the nearest is 2026-11-27\."):
        taken(["2026-11-27", "2026-12-04"], newest="2026-11-30")


@pytest.mark.parametrize(
    "window", [0, -1, True, 1.5, "latest", {}, {"from": 3}, {"first": 4, "last": 3}, None]
)
def test_windows_that_are_none_are_refused(window):
    with pytest.raises(SourceError, match=r"data\.window.* Received: "):
        parse_window(window)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "first"], "must be a whole number such as 7, or a date .* Received: 'first'"),
        (["2026-02-30"], "must be a whole number such as 7, or a date .* Received: '2026-02-30'"),
        (["1", "2026-11-27"], "must have numbers or dates as spans, not both"),
        (["7", "07"], "must have each span once; merge or rename one. Received: '07' and '7'"),
        ([], "has no span; put each into a folder named by .* Received: nothing"),
    ],
)
def test_names_that_are_no_spans_are_refused(tmp_path, names, message):
    template = folders(tmp_path / "photos", *names)
    (tmp_path / "photos").mkdir(exist_ok=True)
    with pytest.raises(SourceError, match=message):
        listed(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("photos/{SPAN}-{SPAN}", "must be at most once in the name of a folder or file"),
        ("s3://photos-{SPAN}/cats", "must not be in the name of a bucket"),
    ],
)
def test_a_placeholder_in_a_wrong_place_is_refused(template, message):
    with pytest.raises(SourceError, match=re.escape(message)):
        listed(template)
