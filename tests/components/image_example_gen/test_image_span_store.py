"""A span that was read once is not read again, and a run can't tell the difference."""

import os
import shutil
from pathlib import Path
from unittest import mock

import boto3
import pytest
from damage import flip_a_bit, halve
from pictures_on_disk import encoded, picture, write, write_pictures
from stores_on_localhost import amazon, google
from tfx.dsl.io import fileio

from components import artifact_files, object_store
from components.image_example_gen import spans_file
from components.image_example_gen.verdict import BadImagesError
from components.images import isolated

BUCKET = "spans"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three spans of two cats and a dog each."""
    for span in range(1, 4):
        add_span(tmp_path / "photos", span)
    return tmp_path / "photos"


def add_span(photos: Path, span: int) -> None:
    write_pictures(photos / str(span) / "cats", 2, first_seed=10 * span)
    write_pictures(photos / str(span) / "dogs", 1, first_seed=10 * span + 1000)


@pytest.fixture
def read(ingest, tmp_path):
    """Reads all spans of a source; returns the outputs, and how many images were decoded."""

    def run(photos: Path, store: Path | str | None = None, **settings):
        names = settings.pop("name", "out")
        with mock.patch.object(isolated, "read_images", wraps=isolated.read_images) as decode:
            found = ingest(
                photos / "{SPAN}",
                **{"window": "all", "name": names, **settings},
                span_store=str(tmp_path / "store" if store is None else store),
            )
        return found, sum(len(call.args[0]) for call in decode.call_args_list)

    return run


def files_of(run) -> dict[str, object]:
    """The digest of each output of a run, and what was quarantined."""
    uri = str(run.examples_uri)
    return {
        "quarantine": run.quarantine,
        "summary": run.summary,
        **{name: artifact_files.describe(uri, name).sha256 for name in artifact_files.names(uri)},
    }


def test_the_fiftieth_run_reads_one_span_and_makes_what_a_first_run_would(tmp_path, read):
    photos = tmp_path / "photos"
    for span in range(1, 50):
        add_span(photos, span)
    _, decoded = read(photos, name="49")
    assert decoded == 49 * 3
    add_span(photos, 50)
    fiftieth, decoded = read(photos, name="50")
    assert decoded == 3
    anew, decoded = read(photos, "", name="anew")
    assert decoded == 50 * 3
    assert files_of(fiftieth) == files_of(anew)
    assert {example["span"] for example in fiftieth.examples} == {
        str(span).encode() for span in range(1, 51)
    }


def test_a_window_takes_kept_spans_too(photos, read):
    read(photos)
    found, decoded = read(photos, window=2, name="window")
    assert decoded == 0
    assert [span.span for span in spans_file.read(str(found.examples_uri)).spans] == ["2", "3"]
    _, decoded = read(photos, window="newest", span="1", name="one")
    assert decoded == 0


def test_a_span_that_was_moved_is_recognized(photos, read):
    read(photos)
    _, decoded = read(photos.rename(photos.with_name("moved")), name="moved")
    assert decoded == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda span: write(span / "cats" / "new.jpg", encoded(picture(77))),
        lambda span: write(span / "cats" / "0000.jpg", encoded(picture(78))),
        lambda span: (span / "cats" / "0001.jpg").unlink(),
        lambda span: (span / "cats" / "0001.jpg").rename(span / "dogs" / "0001.jpg"),
    ],
    ids=["added", "changed", "removed", "relabelled"],
)
def test_a_span_that_has_changed_is_read_again_and_the_others_are_not(photos, read, change):
    read(photos)
    change(photos / "2")
    expected = sum(1 for _ in (photos / "2").rglob("*.jpg"))
    found, decoded = read(photos, name="changed")
    assert decoded == expected
    assert files_of(found) == files_of(read(photos, "", name="anew")[0])


@pytest.mark.parametrize("settings", [{"max_side": 32}, {"positive_class": "cats"}])
def test_other_settings_read_the_spans_again(photos, read, settings):
    read(photos)
    found, decoded = read(photos, name="other", **settings)
    assert decoded == 9
    assert files_of(found) == files_of(read(photos, "", name="anew", **settings)[0])


def test_a_damaged_span_is_named_and_read_again(photos, read, tmp_path, caplog):
    caplog.set_level("WARNING")
    first, _ = read(photos)
    expected = files_of(first)
    for damage in (flip_a_bit, halve, Path.unlink):
        for name in ("examples-00000", "outcome.json", "files.json"):
            (span,) = (tmp_path / "store").glob("2-*")
            # A link: the artifacts of earlier runs have the same file.
            copied = (span / name).read_bytes()
            (span / name).unlink()
            (span / name).write_bytes(copied)
            damage(span / name)
            again, decoded = read(photos, name=f"{damage.__name__}-{name}")
            assert decoded == 3, (damage, name)
            assert files_of(again) == expected
            assert f"{span} is damaged" in caplog.text
            caplog.clear()
    assert read(photos, name="last")[1] == 0


def test_equal_images_of_several_spans_are_kept_once_the_oldest_one(photos, read):
    before, _ = read(photos)
    shutil.copy(photos / "1" / "dogs" / "0000.jpg", photos / "3" / "dogs" / "again.jpg")
    shutil.copy(photos / "3" / "cats" / "0000.jpg", photos / "3" / "cats" / "twice.jpg")
    found, decoded = read(photos, name="duplicates")
    assert decoded == 5
    assert found.summary["duplicates"] == 2
    assert [e["uri"] for e in found.examples] == [e["uri"] for e in before.examples]
    assert files_of(found) == files_of(read(photos, "", name="anew")[0])


def test_equal_images_of_two_classes_are_quarantined_in_all_spans(photos, read):
    read(photos)
    shutil.copy(photos / "1" / "dogs" / "0000.jpg", photos / "3" / "cats" / "dog.jpg")
    found, _ = read(photos, name="conflict")
    assert {(row["uri"], row["reason"]) for row in found.quarantine} == {
        ("1/dogs/0000.jpg", "label_conflict"),
        ("3/cats/dog.jpg", "label_conflict"),
    }
    uris = [example["uri"] for example in found.examples]
    assert b"1/dogs/0000.jpg" not in uris
    assert files_of(found) == files_of(read(photos, "", name="anew")[0])


def test_refused_images_stay_refused_and_a_bad_span_is_not_hidden_by_good_ones(photos, read):
    write(photos / "3" / "cats" / "bad.jpg", b"no image")
    first, _ = read(photos)
    assert [row["reason"] for row in first.quarantine] == ["not_an_image"]
    again, decoded = read(photos, name="again")
    assert decoded == 0
    assert files_of(again) == files_of(first)
    with pytest.raises(BadImagesError, match="1 of 4 images of span 3 were refused, more than"):
        read(photos, name="strict", max_bad_fraction=0.2)


def test_a_span_with_a_missing_image_is_read_again_when_it_is_back(photos, read):
    lost = photos / "2" / "dogs" / "0000.jpg"
    content = lost.read_bytes()
    lost.unlink()
    lost.symlink_to(photos / "2" / "nowhere.jpg")
    first, _ = read(photos)
    assert [row["reason"] for row in first.quarantine] == ["missing"]
    write(photos / "2" / "nowhere.jpg", content)
    found, _ = read(photos, name="back")
    assert found.quarantine == []


def test_a_span_that_changes_while_it_is_read_is_not_kept_as_it_was_before(
    photos, ingest, read, tmp_path, caplog
):
    changed = photos / "2" / "cats" / "0000.jpg"
    before, at = changed.read_bytes(), changed.stat()

    def read_and_change(*arguments, read_images=isolated.read_images, **options):
        changed.write_bytes(encoded(picture(77)))
        return read_images(*arguments, **options)

    store = str(tmp_path / "store")
    with mock.patch.object(isolated, "read_images", read_and_change):
        ingest(photos / "{SPAN}", window="all", span_store=store)
    assert "span 2 changed while it was read" in caplog.text
    changed.write_bytes(before)
    os.utime(changed, ns=(at.st_atime_ns, at.st_mtime_ns))
    found, decoded = read(photos, name="restored")
    assert decoded == 3
    assert files_of(found) == files_of(read(photos, "", name="anew")[0])


@pytest.mark.parametrize("kind", [amazon, google])
def test_spans_are_kept_in_a_bucket_too(photos, read, kind, monkeypatch):
    scheme = "s3" if kind is amazon else "gs"
    with kind(BUCKET) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        store = f"{scheme}://{BUCKET}/root/spans"
        first, decoded = read(photos, store)
        assert decoded == 9
        again, decoded = read(photos, store, name="again")
        assert decoded == 0
        assert files_of(first) == files_of(again) == files_of(read(photos, "", name="anew")[0])
        object_store.register()
        (span,) = [name for name in fileio.listdir(store) if name.startswith("2-")]
        with fileio.open(f"{store}/{span}/examples-00000", "wb") as file:
            file.write(b"other")
        again, decoded = read(photos, store, name="damaged")
        assert decoded == 3
        assert files_of(again) == files_of(first)


def test_the_spans_of_a_bucket_are_listed_and_an_object_that_changed_is_noticed(
    photos, read, monkeypatch
):
    with amazon(BUCKET) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        for path in photos.rglob("*.jpg"):
            client.upload_file(str(path), BUCKET, f"photos/{path.relative_to(photos)}")
        source = Path("s3:/") / BUCKET / "photos"

        def run(name: str):
            return read(_Uri(source), name=name)

        _, decoded = run("first")
        assert decoded == 9
        assert run("again")[1] == 0
        body = encoded(picture(77))
        client.put_object(Bucket=BUCKET, Key="photos/2/cats/0000.jpg", Body=body)
        assert run("changed")[1] == 3


class _Uri:
    """A folder of a bucket, with the operator of a path."""

    def __init__(self, path: Path):
        self._text = f"s3://{BUCKET}/photos"

    def __truediv__(self, name: str) -> str:
        return f"{self._text}/{name}"
