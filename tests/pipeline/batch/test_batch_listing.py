"""Which images a job scores, and in which order."""

import os
import random
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from stores_on_localhost import amazon, google

from components.image_example_gen.files import FoundFile
from components.image_example_gen.manifest import SourceError
from components.stores import store_of
from pipeline.batch import listing
from pipeline.batch.listing import ListingError, Position, Request
from pipeline.batch.ordering import in_order, sorted_on_disk

IMAGES = ["a.jpg", "b/c.png", "b/d/e.jpg", "b.jpg", "notes.txt", "b/.hidden.jpg"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in IMAGES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def listed(
    tmp_path: Path, *paths: object, manifest: object = None, own: tuple[str, ...] = ()
) -> list[FoundFile]:
    request = Request(tuple(map(str, paths)), str(manifest) if manifest else None)
    images = listing.each_image(request, Counter(), own)
    return list(in_order(images, tmp_path / "sorting", in_memory=2))


def test_a_folder_is_listed_by_the_parts_of_its_paths(photos: Path, tmp_path: Path):
    found = listed(tmp_path, photos)
    assert [image.relative for image in found] == ["a.jpg", "b/c.png", "b/d/e.jpg", "b.jpg"]
    assert [image.path for image in found] == [f"{photos}/{image.relative}" for image in found]
    assert {image.size for image in found} == {1}


def test_an_image_that_is_found_twice_is_listed_once_where_it_came_first(photos, tmp_path):
    found = listed(tmp_path, photos / "b.jpg", photos, f"{photos}/*.jpg")
    assert [Path(image.path).name for image in found] == ["b.jpg", "a.jpg", "c.png", "e.jpg"]


def test_an_image_is_listed_once_however_its_path_is_written(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    found = listed(tmp_path, "./a.jpg", "b/../a.jpg", photos / "a.jpg", photos, ".")
    assert [image.path for image in found] == [
        "./a.jpg",
        *(f"{photos}/{name}" for name in ("b/c.png", "b/d/e.jpg", "b.jpg")),
    ]


@pytest.mark.parametrize("output", ["rows.csv", "b/../rows.csv"])
def test_the_files_of_the_job_itself_are_not_its_images(photos, tmp_path, monkeypatch, output):
    monkeypatch.chdir(photos)
    (photos / "rows.csv").write_text("of an earlier job")
    (photos / "rows.csv.parts").mkdir()
    (photos / "rows.csv.parts" / "rows-000000.jsonl").write_text("{}")
    found = listed(tmp_path, f"{photos}/**", own=(output, f"{output}.parts"))
    expected = ["a.jpg", "b/c.png", "b/d/e.jpg", "b.jpg", "notes.txt"]
    assert [os.path.relpath(image.path, photos) for image in found] == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg", "b.jpg"]),
        ("**/*.jpg", ["a.jpg", "b/d/e.jpg", "b.jpg"]),
        ("b/*", ["b/c.png"]),
        ("[!a].jpg", ["b.jpg"]),
        ("?.*", ["a.jpg", "b.jpg"]),
        ("*.txt", ["notes.txt"]),
        ("b/**", ["b/c.png", "b/d/e.jpg"]),
    ],
)
def test_a_pattern_lists_what_a_shell_would(photos, tmp_path, pattern, expected):
    found = listed(tmp_path, f"{photos}/{pattern}")
    assert [os.path.relpath(image.path, photos) for image in found] == expected


def test_a_pattern_may_be_relative(photos, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(photos)
    assert [image.path for image in listed(tmp_path, "*.jpg")] == ["a.jpg", "b.jpg"]


def test_a_file_whose_name_is_a_pattern_is_read_literally(tmp_path: Path):
    for name in ("[a].jpg", "a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert [image.path for image in listed(tmp_path, tmp_path / "[a].jpg")] == [
        f"{tmp_path}/[a].jpg"
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_manifest_needs_no_label_and_keeps_its_order(photos: Path, tmp_path: Path, suffix: str):
    uris = ["b/d/e.jpg", "gone.jpg", str(photos / "a.jpg"), "b/d/e.jpg", "s3://bucket/x.jpg"]
    lines = ["uri", *uris] if suffix == "csv" else [f'{{"uri": "{uri}"}}' for uri in uris]
    manifest = photos / f"list.{suffix}"
    manifest.write_text("\n".join(lines) + "\n")
    expected = [f"{photos}/b/d/e.jpg", f"{photos}/gone.jpg", f"{photos}/a.jpg", uris[-1]]
    for found in (
        listed(tmp_path, manifest=manifest),
        listed(tmp_path, photos, manifest=manifest),
    ):
        assert [image.path for image in found] == expected
        assert [image.relative for image in found] == [*uris[:3], uris[-1]]
        assert [image.size for image in found] == [1, -1, 1, -1]


def test_a_manifest_may_be_written_in_another_form_of_unicode_than_the_file_names(tmp_path):
    composed, decomposed = "caf\u00e9.jpg", "cafe\u0301.jpg"
    (tmp_path / decomposed).write_bytes(b"x")
    (tmp_path / "list.csv").write_text(f"uri\n{composed}\n", encoding="utf-8")
    (found,) = listed(tmp_path, manifest=tmp_path / "list.csv")
    assert (found.relative, found.path, found.size) == (composed, f"{tmp_path}/{decomposed}", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uri\na.jpg\nftp://host/b.jpg\n", "line 3: images at ftp:// can't be read; download"),
        ("label\ncats\n", "no column 'uri'; 'uri' is required.*Received"),
        ("uri\n", "has no rows"),
        ("uri,label\n,cats\n", "line 2: 'uri' is empty"),
    ],
)
def test_a_manifest_that_names_no_images_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises((ListingError, SourceError), match=message):
        listed(tmp_path, manifest=tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "does not exist.*Received: .*nowhere"),
        ("nowhere/*.jpg", "nowhere does not exist"),
        ("photos/*.gif", r"no images found.*Received: .*\*\.gif"),
        ("photos/.", None),
    ],
)
def test_a_path_without_images_is_an_error(photos: Path, tmp_path: Path, path, message):
    if message is None:
        assert len(listed(tmp_path, tmp_path / path)) == 4
        return
    with pytest.raises(ListingError, match=message):
        listed(tmp_path, f"{tmp_path}/{path}")


def test_a_request_needs_images_and_a_manifest_one_folder():
    with pytest.raises(ListingError, match="is required"):
        listing.check(Request(()))
    with pytest.raises(ListingError, match="Received: a, b"):
        listing.check(Request(("a", "b"), "list.csv"))


@pytest.mark.parametrize("open_files", [2, 3, 100])
def test_sorting_on_disk_is_stable_and_gives_all_items(tmp_path: Path, open_files: int):
    numbers = random.Random(0)
    items = [
        (Position(0, (numbers.randrange(50),)), FoundFile("a", f"{number}", 1, 2))
        for number in range(1_000)
    ]
    found = sorted_on_disk(
        *(items, lambda item: item[0], tmp_path / "sorting"), in_memory=37, open_files=open_files
    )
    assert list(found) == sorted(items, key=lambda item: item[0])
    assert len(os.listdir(tmp_path / "sorting")) <= open_files


def test_positions_of_one_source_can_be_compared():
    folder = [Position(0, ("a", "b")), Position(0, ("a",)), Position(1, ())]
    assert sorted(folder) == [folder[1], folder[0], folder[2]]


@pytest.mark.parametrize(("scheme", "store_server"), [("s3", amazon), ("gs", google)])
def test_a_bucket_is_searched_by_suffix_and_by_patterns(
    tmp_path, monkeypatch: pytest.MonkeyPatch, scheme, store_server
):
    with store_server("listed-images") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        root = f"{scheme}://listed-images/of{tmp_path}"
        store = store_of(root)
        assert store is not None
        for name in ("a.jpg", "b/c.JPG", "b/d", "notes.txt", ".hidden.jpg"):
            store.write(f"{root}/{name}", b"x")
        whole = [image.relative for image in listed(tmp_path, root)]
        pattern = [image.path for image in listed(tmp_path, f"{root}/**/*.JPG")]
        one = [image.path for image in listed(tmp_path, f"{root}/notes.txt")]
        others = [image.path for image in listed(tmp_path, f"{root}/*", own=(f"{root}/a.jpg",))]
        with pytest.raises(ListingError, match="no images found"):
            listed(tmp_path, f"{root}/nothing")
    assert whole == ["a.jpg", "b/c.JPG", "b/d"]
    assert pattern == [f"{root}/b/c.JPG"]
    assert one == others == [f"{root}/notes.txt"]


def test_the_memory_of_the_listing_does_not_grow_with_the_number_of_images(tmp_path: Path):
    def peak(count: int) -> int:
        images = (
            (Position(0, (f"{number:06d}",)), FoundFile(str(number), f"photos/{number}", 1, 1))
            for number in range(count)
        )
        tracemalloc.start()
        listed_images = sum(1 for _ in in_order(images, tmp_path / str(count), in_memory=1_000))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert listed_images == count
        return most

    assert peak(12_000) < 2 * peak(3_000)
