"""The images of spans: of folders, of manifests, and of a manifest that grows."""

from collections import Counter
from pathlib import Path

import pytest

from components.image_example_gen.sources import SourceError, class_names, data_version
from components.image_example_gen.span_listing import Asked, list_spans, records_of
from components.image_example_gen.spans import parse_window


def write_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def listed(source: object, window: object = "all", **asked):
    return list_spans(
        Asked(source=str(source), positive_class="dogs", window=parse_window(window), **asked)
    )


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three spans, of which the first has no dog."""
    names = ["1/cats/a.jpg", "2/cats/a.jpg", "2/dogs/b.jpg", "3/dogs/c.jpg"]
    return write_files(tmp_path / "photos", *names)


def test_each_span_has_its_images_under_names_of_their_own(photos):
    found = listed(photos / "{SPAN}")
    assert {span.name: [record.uri for record in span.records] for span in found} == {
        "1": ["1/cats/a.jpg"],
        "2": ["2/cats/a.jpg", "2/dogs/b.jpg"],
        "3": ["3/dogs/c.jpg"],
    }
    assert [record.span for record in records_of(found)] == ["1", "2", "2", "3"]
    (newest,) = listed(photos / "{SPAN}", 1, span="2")
    assert newest.name == "2"


def test_a_span_that_is_asked_for_alone_is_found_whatever_else_is_there(photos):
    (photos / "thumbnails").mkdir()
    (only,) = listed(photos / "{SPAN}", "newest", span="2")
    assert only.name == "2"
    with pytest.raises(SourceError, match=r"what 'thumbnails' in .* must be a whole number"):
        listed(photos / "{SPAN}", "newest")


def test_spans_may_lack_a_class_that_all_together_must_have(photos):
    assert class_names(records_of(listed(photos / "{SPAN}", {"last": 2}))) == ["cats", "dogs"]
    with pytest.raises(SourceError, match="must have at least two classes"):
        listed(photos / "{SPAN}", span="1")


def test_a_source_without_spans_is_listed_as_before(photos):
    (whole,) = listed(write_files(photos / "2"))
    assert (whole.name, [record.uri for record in whole.records]) == (
        "",
        ["cats/a.jpg", "dogs/b.jpg"],
    )
    with pytest.raises(SourceError, match=r"a span requires \{SPAN\} in data.source"):
        listed(photos / "2", span="2")


def test_an_empty_span_is_refused(photos):
    (photos / "4").mkdir()
    with pytest.raises(SourceError, match=r"no images found: the source is empty.*/photos/4"):
        listed(photos / "{SPAN}")


def test_a_class_that_no_earlier_span_has_is_refused_unless_it_is_named(photos):
    write_files(photos, "4/Dogs/d.jpg")
    message = "each class of span 4, unless population.prevalence names it.* did you mean 'dogs'"
    with pytest.raises(SourceError, match=message):
        listed(photos / "{SPAN}")
    message = "population.prevalence names every class, so each in span 4 must .*'Dogs'"
    with pytest.raises(SourceError, match=message):
        listed(photos / "{SPAN}", classes={"cats", "dogs"})
    named = listed(photos / "{SPAN}", classes={"cats", "dogs", "Dogs"})
    assert named[-1].records[0].class_name == "Dogs"


def write_manifest(path: Path, *rows: str) -> str:
    path.write_text("\n".join(["uri,label,day,breed", *rows]) + "\n")
    return str(path)


def test_each_span_may_have_a_manifest_of_its_own(photos):
    for day in ("2", "3"):
        rows = [
            f"{path.relative_to(photos)},{path.parent.name},,x" for path in photos.rglob("*.jpg")
        ]
        write_manifest(photos / f"{day}.csv", *(row for row in rows if row.startswith(day)))
    for manifest in (str(photos / "{SPAN}.csv"), "{SPAN}.csv"):
        found = listed(photos, manifest=manifest, slices=["breed"])
        assert [(span.name, len(span.records)) for span in found] == [("2", 2), ("3", 1)]
    assert [record.uri for record in found[0].records] == ["2/cats/a.jpg", "2/dogs/b.jpg"]


def test_the_rows_of_a_manifest_that_grows_have_their_span_in_a_column(photos):
    rows = ["1/cats/a.jpg,cats,2026-11-20,x", "2/dogs/b.jpg,dogs,2026-11-20,x"]
    manifest = write_manifest(photos / "rows.csv", *rows)
    (before,) = listed(photos, manifest=manifest, span_column="day")
    manifest = write_manifest(photos / "rows.csv", "3/dogs/c.jpg,dogs,2026-11-27,y", *rows)
    old, new = listed(photos, manifest=manifest, span_column="day")
    assert old == before
    assert (new.name, [record.uri for record in new.records]) == ("2026-11-27", ["3/dogs/c.jpg"])
    # Photographs of spans that are not taken may be gone.
    (photos / "3" / "dogs" / "c.jpg").unlink()
    assert listed(photos, manifest=manifest, span_column="day", span="2026-11-20") == [old]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2/dogs/b.jpg,cats,2,x", "spans 1 and 2 have two labels for '2/dogs/b.jpg'.*'dogs' in 1"),
        ("2/dogs/b.jpg,dogs,2,y", "two values of slice columns for '2/dogs/b.jpg'"),
        ("2/dogs/b.jpg,dogs,,x", r"line 4: 'day' must be a whole number.* Received: ''"),
        ("2/dogs/b.jpg,dogs,soon,x", r"line 4: 'day' must be a whole number.* Received: 'soon'"),
    ],
)
def test_rows_that_contradict_an_earlier_span_or_have_none_are_refused(photos, row, message):
    rows = ["1/cats/a.jpg,cats,1,x", "2/dogs/b.jpg,dogs,1,x", row]
    manifest = write_manifest(photos / "rows.csv", *rows)
    with pytest.raises(SourceError, match=message):
        listed(photos, manifest=manifest, span_column="day", slices=["breed"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"span_column": "day"}, "data.span_column requires data.manifest"),
        ({"span_column": "week", "manifest": "rows.csv"}, "must be a column of the manifest"),
        ({"span_column": "day", "manifest": "{SPAN}.csv"}, "must not have {SPAN} with data.span_c"),
        ({"slices": ["span"], "manifest": "{SPAN}.csv"}, "slices must not have 'span' with {SPAN}"),
    ],
)
def test_requests_that_make_no_sense_are_refused(photos, asked, message):
    write_manifest(photos / "rows.csv", "1/cats/a.jpg,cats,1,x")
    with pytest.raises(SourceError, match=message):
        listed(photos, **asked)


def test_the_version_changes_with_an_image_of_any_span_and_not_with_the_place(photos):
    before = data_version(records_of(listed(photos / "{SPAN}")))
    moved = photos.rename(photos.with_name("moved"))
    assert data_version(records_of(listed(moved / "{SPAN}"))) == before
    write_files(moved, "1/cats/b.jpg")
    assert data_version(records_of(listed(moved / "{SPAN}"))) != before


def test_what_is_passed_over_is_counted_over_all_spans(photos):
    write_files(photos, "1/notes.txt", "2/Thumbs.db", "3/Thumbs.db")
    counted: Counter[str] = Counter()
    list_spans(
        Asked(source=str(photos / "{SPAN}"), positive_class="dogs", window=parse_window("all")),
        counted,
    )
    assert counted == {"files beside the class folders": 1, "Thumbs.db": 2}
